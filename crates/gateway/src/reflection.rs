use std::collections::HashSet;

use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::catalogue::Catalogue;

/// The descriptors with the public RPCs only: what is not offered is not shown. Files that held nothing but internal services go,
/// unless another needs their messages.
pub fn public_descriptors(catalogue: &Catalogue) -> FileDescriptorSet {
    let mut hidden = HashSet::new();
    let mut files: Vec<FileDescriptorProto> = catalogue.pool().file_descriptor_protos().cloned().collect();
    for file in files.iter_mut().filter(|file| !file.service.is_empty()) {
        let package = file.package().to_owned();
        for service in &mut file.service {
            let name = service.name().to_owned();
            service
                .method
                .retain(|method| catalogue.get(&format!("/{package}.{name}/{}", method.name())).is_some());
        }
        file.service.retain(|service| !service.method.is_empty());
        if file.service.is_empty() {
            hidden.insert(file.name().to_owned());
        }
        // Its paths count methods that are gone. Reflection shows no comments without it.
        file.source_code_info = None;
    }
    let needed: HashSet<String> = files
        .iter()
        .filter(|file| !hidden.contains(file.name()))
        .flat_map(|file| file.dependency.iter().cloned())
        .collect();
    files.retain(|file| !hidden.contains(file.name()) || needed.contains(file.name()));
    FileDescriptorSet { file: files }
}

#[cfg(test)]
mod tests {
    use super::public_descriptors;
    use crate::catalogue::{Catalogue, DESCRIPTORS};

    #[test]
    fn internal_services_are_not_shown() {
        let catalogue = Catalogue::new(&DESCRIPTORS).expect("our own descriptors");
        let set = public_descriptors(&catalogue);
        let services: Vec<String> = set
            .file
            .iter()
            .flat_map(|file| {
                file.service
                    .iter()
                    .map(|service| format!("{}.{}", file.package(), service.name()))
            })
            .collect();
        assert!(
            services.iter().any(|name| name == "tidings.message.v1.SyncService"),
            "{services:?}"
        );
        for internal in ["ProvisioningService", "UserStateService", "MembershipLogService"] {
            assert!(!services.iter().any(|name| name.ends_with(internal)), "{internal}");
        }
        let auth = set
            .file
            .iter()
            .flat_map(|file| &file.service)
            .find(|service| service.name() == "AuthService");
        let methods: Vec<&str> = auth
            .expect("public")
            .method
            .iter()
            .map(|method| method.name())
            .collect();
        assert!(
            methods.contains(&"Login") && !methods.contains(&"WatchRevocations"),
            "{methods:?}"
        );
    }
}
