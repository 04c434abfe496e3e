//! Where the build put what the tests run.

use std::path::{Path, PathBuf};

/// The folder of the running profile: `target/debug` or `target/release`.
fn profile() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}

/// The `wrun` binary of the same profile as the running test.
pub fn wrun() -> PathBuf {
    existing(profile().join("wrun"), "cargo build --workspace")
}

/// A guest by the name of its file without `.wasm`: an example or one of the tests' own.
pub fn guest(name: &str) -> PathBuf {
    let folder = profile().parent().unwrap().join("guests/wasm32-wasip2/release");
    existing(folder.join(format!("{name}.wasm")), "cargo xtask guests")
}

/// A program that others published, built unmodified.
pub fn published(name: &str) -> PathBuf {
    let folder = profile().parent().unwrap().join("guests/published/bin");
    existing(folder.join(format!("{name}.wasm")), "cargo xtask guests")
}

/// A library of ONNX Runtime, of the published wheel of that name.
pub fn onnx_runtime(wheel: &str) -> PathBuf {
    in_wheel(wheel, "onnxruntime/capi", |name| name.starts_with("libonnxruntime.so"))
}

/// A published model that says what a file is.
pub fn magika() -> PathBuf {
    in_wheel("magika", "magika/models/standard_v3_3", |name| name == "model.onnx")
}

/// A file in a folder of an unpacked wheel, of whatever version.
fn in_wheel(wheel: &str, folder: &str, is_it: impl Fn(&str) -> bool) -> PathBuf {
    let wheels = profile().parent().unwrap().join("wheels");
    let made_by = format!("cargo xtask wheels {wheel}");
    let found = files(&wheels).into_iter().find_map(|unpacked| {
        let name = unpacked.file_name()?.to_str()?;
        let version = name.strip_prefix(wheel)?.strip_prefix('-')?;
        // Another wheel's name may begin with this one's.
        let is_version = version.starts_with(|first: char| first.is_ascii_digit());
        let files = if is_version { files(&unpacked.join(folder)) } else { Vec::new() };
        files.into_iter().find(|file| is_it(&file.file_name().unwrap().to_string_lossy()))
    });
    existing(found.unwrap_or_else(|| wheels.join(wheel)), &made_by)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A folder with a Vulkan loader, and the description of a Vulkan device in software.
pub fn swiftshader() -> (PathBuf, PathBuf) {
    let folder = profile().parent().unwrap().join("swiftshader/usr/lib/chromium");
    let device = existing(folder.join("vk_swiftshader_icd.json"), "cargo xtask swiftshader");
    (folder, device)
}

/// The folder of a published wheel, unpacked: `NAME-VERSION` as `cargo xtask wheels` pins it.
pub fn wheel(called: &str) -> PathBuf {
    let folder = profile().parent().unwrap().join("wheels").join(called);
    existing(folder, "cargo xtask wheels")
}

/// The bytes of a guest: one that was built, or one of `tests/guests/wat`.
pub fn guest_bytes(name: &str) -> Vec<u8> {
    let text = checkout(&format!("tests/guests/wat/{name}.wat"));
    if text.exists() {
        return wat::parse_file(&text).unwrap();
    }
    std::fs::read(guest(name)).unwrap()
}

/// A file of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

fn existing(path: PathBuf, made_by: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `{made_by}` first", path.display());
    path
}
