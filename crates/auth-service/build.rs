//! Has `sqlx::migrate!` see a migration that is new.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
