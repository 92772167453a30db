//! Compiles the protos of one package, for the build scripts of the `proto-*` crates.
//!
//! There is no protoc: [`protox`] parses the files, prost and tonic generate the code, and the encoded descriptor set is
//! written beside it for reflection, for the middleware's policies and for the gateway. It stays encoded, because prost's own
//! descriptor types drop the custom options that the policies stand in.
//!
//! A package's crate generates its own package only. Messages of other packages come from those packages' crates, named
//! here in [`extern_crates`], so that no type exists twice.

use std::{env, error::Error, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, FieldDescriptor};
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Compiles the package `tidings.<package>.v1` into `OUT_DIR`: `tidings.<package>.v1.rs` and `descriptors.binpb`.
///
/// Clients and servers are generated when the calling crate's features `client` and `server` are on.
///
/// # Errors
///
/// When a proto does not parse or the output cannot be written.
pub fn compile(package: &str) -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let folder = root.join("tidings").join(package).join("v1");
    println!("cargo:rerun-if-changed={}", root.join("tidings").display());

    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.binpb"), compiler.encode_file_descriptor_set())?;

    let set = compiler.file_descriptor_set();
    let secrets = messages_with_secrets(&compiler.encode_file_descriptor_set(), package)?;
    let mut config = tonic_prost_build::configure()
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .skip_debug(secrets)
        // Maps are encoded in a fixed order, so that equal requests have equal hashes.
        .btree_map(".");
    for (path, krate) in extern_crates(package) {
        config = config.extern_path(path, krate);
    }
    config.compile_fds(without_docs_that_break(set))?;
    Ok(())
}

/// The other packages of the suite and the Rust paths of their code.
fn extern_crates(package: &str) -> impl Iterator<Item = (String, String)> {
    ["common", "auth", "user", "chat", "message", "gateway"]
        .into_iter()
        .filter(move |other| *other != package)
        .map(|other| (format!(".tidings.{other}.v1"), format!("::tidings_proto_{other}::v1")))
}

/// The full names of the package's messages that hold a field with the standard option `debug_redact`. They get no derived
/// `Debug`, but one in `redacted.rs` that prints the message's name only.
fn messages_with_secrets(set: &[u8], package: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let pool = DescriptorPool::decode(set)?;
    let package = format!("tidings.{package}.v1");
    let names: Vec<String> = pool
        .all_messages()
        .filter(|message| message.package_name() == package)
        .filter(|message| message.fields().any(|field| is_redacted(&field)))
        .map(|message| format!(".{}", message.full_name()))
        .collect();
    let impls: String = names.iter().map(|name| debug_impl(name, &package)).collect();
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("redacted.rs"), impls)?;
    Ok(names)
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    field
        .options()
        .get_field_by_name("debug_redact")
        .is_some_and(|value| value.as_bool() == Some(true))
}

/// A `Debug` that names the message and shows nothing in it.
fn debug_impl(name: &str, package: &str) -> String {
    let path = name
        .trim_start_matches('.')
        .trim_start_matches(package)
        .trim_start_matches('.');
    let (modules, ident) = path.rsplit_once('.').unwrap_or(("", path));
    let module: String = modules
        .split('.')
        .filter(|part| !part.is_empty())
        .map(|part| format!("{}::", snake(part)))
        .collect();
    format!(
        "impl ::core::fmt::Debug for {module}{ident} {{\n    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result \
         {{\n        f.write_str(\"{ident} {{ redacted }}\")\n    }}\n}}\n"
    )
}

/// `LoginRequest` as `login_request`, as prost names the module of a message's nested types.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// Leaves the source information of our own files only: Google's comments hold examples that rustdoc takes for tests.
fn without_docs_that_break(mut set: FileDescriptorSet) -> FileDescriptorSet {
    let foreign = |file: &FileDescriptorProto| !file.package().starts_with("tidings.");
    for file in set.file.iter_mut().filter(|file| foreign(file)) {
        file.source_code_info = None;
    }
    set
}
