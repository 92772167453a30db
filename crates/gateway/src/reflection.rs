use std::collections::HashSet;

use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::catalogue::Catalogue;

/// The descriptors with the public RPCs only: what is not offered is not shown. Files that held nothing but internal services go,
/// unless another needs their messages.
pub fn public_descriptors(catalogue: &Catalogue) -> FileDescriptorSet {
    let mut hidden = HashSet::new();
    let mut files: Vec<FileDescriptorProto> = catalogue.pool().file_descriptor_protos().cloned().collect();
    for file in files.iter_mut().filter(|file| !file.service.is_empty()) {
        keep_public(file, catalogue);
        if file.service.is_empty() {
            hidden.insert(file.name().to_owned());
        }
    }
    let needed: HashSet<String> = files
        .iter()
        .filter(|file| !hidden.contains(file.name()))
        .flat_map(|file| file.dependency.iter().cloned())
        .collect();
    files.retain(|file| !hidden.contains(file.name()) || needed.contains(file.name()));
    FileDescriptorSet { file: files }
}

/// Takes out what is not public, with its comments.
fn keep_public(file: &mut FileDescriptorProto, catalogue: &Catalogue) {
    let package = file.package().to_owned();
    let is_public = |service: &str, method: &str| catalogue.get(&format!("/{package}.{service}/{method}")).is_some();
    // Where each method of each service goes; `None` for what goes away.
    let places: Vec<(Option<i32>, Vec<Option<i32>>)> = {
        let mut next = 0..;
        let places = file.service.iter().map(|service| {
            let methods = kept(
                service
                    .method
                    .iter()
                    .map(|method| is_public(service.name(), method.name())),
            );
            let place = methods.iter().any(Option::is_some).then(|| next.next()).flatten();
            (place, methods)
        });
        places.collect()
    };
    for service in &mut file.service {
        let name = service.name().to_owned();
        service.method.retain(|method| is_public(&name, method.name()));
    }
    file.service.retain(|service| !service.method.is_empty());
    // Comments are found by paths that count services and methods.
    if let Some(source) = &mut file.source_code_info {
        source
            .location
            .retain_mut(|location| moved(&mut location.path, &places));
    }
}

/// The places of those that are kept among those that are kept.
fn kept(is_kept: impl Iterator<Item = bool>) -> Vec<Option<i32>> {
    let mut next = 0..;
    is_kept.map(|is_kept| is_kept.then(|| next.next()).flatten()).collect()
}

/// Brings a path in line with what is left, and says whether what it leads to is left.
fn moved(path: &mut [i32], places: &[(Option<i32>, Vec<Option<i32>>)]) -> bool {
    // Numbers of fields in descriptor.proto: a file's services, and a service's methods.
    const SERVICE: i32 = 6;
    const METHOD: i32 = 2;
    let at = |place: i32| usize::try_from(place).unwrap_or(usize::MAX);
    let [SERVICE, service, rest @ ..] = path else {
        return true;
    };
    let Some((Some(place), methods)) = places.get(at(*service)) else {
        return false;
    };
    *service = *place;
    match rest {
        [METHOD, method, ..] => match methods.get(at(*method)) {
            Some(Some(place)) => {
                *method = *place;
                true
            }
            _ => false,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorProto;

    use super::{moved, public_descriptors};
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
    fn comment<'f>(file: &'f FileDescriptorProto, path: &[i32]) -> &'f str {
        let source = file.source_code_info.as_ref().expect("kept");
        let found: Vec<_> = source
            .location
            .iter()
            .filter(|location| location.path == path)
            .collect();
        assert_eq!(found.len(), 1, "{path:?} in {}", file.name());
        found[0].leading_comments().trim_start()
    }

    #[test]
    fn what_is_shown_has_its_own_comment() {
        let catalogue = Catalogue::new(&DESCRIPTORS).expect("our own descriptors");
        let set = public_descriptors(&catalogue);
        let place = |index: usize| i32::try_from(index).expect("few");
        let mut methods = 0;
        for file in set.file.iter().filter(|file| file.package().starts_with("tidings.")) {
            for (index, message) in file.message_type.iter().enumerate() {
                let comment = comment(file, &[4, place(index)]);
                assert!(comment.starts_with(message.name()), "{comment}");
            }
            for (index, service) in file.service.iter().enumerate() {
                let path = [6, place(index)];
                assert!(comment(file, &path).starts_with(service.name()), "{}", service.name());
                for (index, method) in service.method.iter().enumerate() {
                    let comment = comment(file, &[path[0], path[1], 2, place(index)]);
                    assert!(comment.starts_with(method.name()), "{comment}");
                    methods += 1;
                }
            }
            let source = file.source_code_info.as_ref().expect("kept");
            let comments = source.location.iter().map(|location| location.leading_comments());
            for comment in comments {
                assert!(!comment.trim_start().starts_with("WatchRevocations "), "{comment}");
            }
        }
        assert!(methods > 50, "{methods}");
    }
    #[test]
    fn what_stands_behind_what_is_gone_moves_up() {
        // The first of two services goes, and the first of the other's two methods.
        let places = [(None, vec![None]), (Some(0), vec![None, Some(0)])];
        for (path, expected) in [
            (vec![6, 1], Some(vec![6, 0])),
            (vec![6, 1, 2, 1, 4], Some(vec![6, 0, 2, 0, 4])),
            (vec![6, 1, 1], Some(vec![6, 0, 1])),
            (vec![4, 1, 2, 0], Some(vec![4, 1, 2, 0])),
            (vec![], Some(vec![])),
            (vec![6, 0], None),
            (vec![6, 0, 2, 0], None),
            (vec![6, 1, 2, 0], None),
            (vec![6, 7], None),
        ] {
            let mut path: Vec<i32> = path;
            let left = moved(&mut path, &places).then_some(path);
            assert_eq!(left, expected);
        }
    }
}
