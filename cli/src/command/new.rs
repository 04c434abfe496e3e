//! `wrun new`: a project whose function runs as a task.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Context, Ended};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::json;
use crate::syntax::project::New;

const MANIFEST: &str = include_str!("new/Cargo.toml.template");
const CODE: &str = include_str!("new/lib.rs.template");
const IGNORE: &str = "/target\n";

/// Makes the project. Nothing that is there is touched.
pub(crate) fn new(context: &Context, args: &New) -> Ended {
    let sdk = sdk(args.sdk.as_deref())?;
    let name = crate_name(&args.name)?;
    let dir = &args.name;
    if dir.exists() {
        let text = format!("`{}` exists already", dir.display());
        return Err(Error::new(Exit::Conflict, text).todo("choose another name"));
    }
    let manifest = MANIFEST.replace("{name}", &name).replace("{sdk}", &escaped(&sdk)?);
    write(&dir.join("src/lib.rs"), CODE)?;
    write(&dir.join("Cargo.toml"), &manifest)?;
    write(&dir.join(".gitignore"), IGNORE)?;
    if context.console.wants_json() {
        let project =
            json::Project { path: dir.display().to_string(), sdk: sdk.display().to_string() };
        context.console.json(&project)?;
    } else {
        let at = dir.display();
        let file = name.replace('-', "_");
        context.console.line(format_args!("made {at}; next:"))?;
        context.console.line(format_args!("  wrun build {at}"))?;
        context.console.line(format_args!(
            "  echo '{{\"name\": \"world\"}}' | wrun run {at}/target/wasm32-wasip2/release/{file}.wasm"
        ))?;
    }
    Ok(Exit::Success)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |cause| Error::file("write", path, &cause);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

/// What is named; else the one in the checkout that wrun was built from, if it is there.
fn sdk(given: Option<&Path>) -> Result<PathBuf, Error> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk"),
    };
    let is_sdk = fs::read_to_string(path.join("Cargo.toml"))
        .is_ok_and(|text| text.contains("name = \"wrun-sdk\""));
    match fs::canonicalize(&path) {
        Ok(path) if is_sdk => Ok(path),
        _ if given.is_some() => {
            let text = format!("`{}` is not the folder of the crate wrun-sdk", path.display());
            Err(Error::new(Exit::NotFound, text)
                .todo("name the folder `sdk` of wrun's source with --sdk"))
        }
        _ => Err(Error::new(
            Exit::NotFound,
            "the crate wrun-sdk was not found: wrun's source is no longer where it was built",
        )
        .todo("name the folder `sdk` of wrun's source with --sdk DIR or WRUN_SDK")),
    }
}

fn escaped(path: &Path) -> Result<String, Error> {
    let text = path.to_str().ok_or_else(|| {
        Error::new(Exit::InvalidInput, format!("`{}` is not UTF-8", path.display()))
    })?;
    Ok(toml::Value::String(text.to_owned()).to_string())
}

fn crate_name(path: &Path) -> Result<String, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(allowed) {
        return Ok(name.to_owned());
    }
    let text = format!("`{name}` is not a name of a Rust project");
    Err(Error::new(Exit::InvalidInput, text)
        .todo("use letters, digits, `-` and `_`, beginning with a letter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates() {
        assert_eq!(crate_name(Path::new("a/my-task")).unwrap(), "my-task");
        for name in ["", "7up", "a b", "ä", "..", "-x"] {
            assert!(crate_name(Path::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_folder_that_is_no_sdk_is_refused() {
        let error = sdk(Some(Path::new("/nowhere"))).unwrap_err();
        assert_eq!(error.exit(), Exit::NotFound);
        assert!(sdk(None).is_ok(), "the checkout is there while its tests run");
    }

    #[test]
    fn the_manifest_is_toml() {
        let text =
            MANIFEST.replace("{name}", "x").replace("{sdk}", &escaped(Path::new("/a\"b")).unwrap());
        let manifest: toml::Table = text.parse().unwrap();
        assert_eq!(manifest["dependencies"]["wrun-sdk"]["path"].as_str(), Some("/a\"b"));
    }
}
