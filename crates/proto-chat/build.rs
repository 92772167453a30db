//! Generates the code of `tidings.chat.v1`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tidings_proto_build::compile("chat")
}
