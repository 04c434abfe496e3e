//! The shared library of ONNX Runtime: found, opened, and asked its version, before anything
//! else is asked of it.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use ort::sys::{ORT_API_VERSION, OrtApiBase};

/// Where the library is looked for when nobody says where it is; a name alone is left to the
/// system's own search.
const USUAL: [&str; 4] = [
    "libonnxruntime.so",
    "libonnxruntime.so.1",
    "/usr/local/lib/libonnxruntime.so",
    "/opt/onnxruntime/lib/libonnxruntime.so",
];

/// A library that can be used.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) place: PathBuf,
    /// Like `1.27.0`.
    pub(super) version: String,
    /// Held so that it is initialised once, until `ort` has it open too.
    _open: libloading::Library,
}

/// A file is not the library that is wanted.
#[derive(Debug, thiserror::Error)]
enum LibraryError {
    #[error("`{}` cannot be loaded: {}", place.display(), system(source))]
    Open { place: PathBuf, source: libloading::Error },
    #[error("`{}` is no ONNX Runtime: it has no `OrtGetApiBase`", place.display())]
    NotOne { place: PathBuf },
    #[error("`{}` is a broken ONNX Runtime: {what} is missing", place.display())]
    Broken { place: PathBuf, what: &'static str },
    #[error(
        "`{}` is ONNX Runtime {version}, and 1.{} or newer is needed",
        place.display(),
        ORT_API_VERSION
    )]
    TooOld { place: PathBuf, version: String },
}

/// What the system said, which the error itself leaves to its source.
fn system(error: &libloading::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| source.to_string())
}

/// The library at that place, or the first that will do in the usual ones; else what is wrong
/// with each.
pub(super) fn find(place: Option<&Path>) -> Result<Library, String> {
    let places = match place {
        Some(place) => vec![place.to_owned()],
        None => beside_program().into_iter().chain(USUAL.map(PathBuf::from)).collect(),
    };
    let mut reasons = Vec::new();
    for place in places {
        match check(&place) {
            Ok((version, _open)) => return Ok(Library { place, version, _open }),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(reasons.join("; "))
}

/// The library in the folder of this program, if there is one.
fn beside_program() -> Option<PathBuf> {
    let library = std::env::current_exe().ok()?.with_file_name("libonnxruntime.so");
    library.exists().then_some(library)
}

#[expect(unsafe_code, reason = "a native library is trusted as far as its process goes")]
fn check(place: &Path) -> Result<(String, libloading::Library), LibraryError> {
    type GetApiBase = unsafe extern "system" fn() -> *const OrtApiBase;
    let place = || place.to_owned();
    // SAFETY: what its initialisers do is theirs; this process is there for this library alone.
    let library = unsafe { libloading::Library::new(place()) }
        .map_err(|source| LibraryError::Open { place: place(), source })?;
    // SAFETY: the function has this type in every version of ONNX Runtime; a library that has
    // another one of this name ends this process at most.
    let get_base = unsafe { library.get::<GetApiBase>("OrtGetApiBase") }
        .map_err(|_| LibraryError::NotOne { place: place() })?;
    // SAFETY: as above; what it gives lives as long as the library, which is open here.
    let base = unsafe { get_base().as_ref() };
    let base = base.ok_or_else(|| LibraryError::Broken { place: place(), what: "its base" })?;
    // SAFETY: as above.
    let version = unsafe { (base.GetVersionString)() };
    if version.is_null() {
        return Err(LibraryError::Broken { place: place(), what: "its version" });
    }
    // SAFETY: a text that ends with a zero, by the library's documentation.
    let version = unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned();
    // By its number first: an old library complains aloud when it is asked for what it lacks.
    let minor = version.strip_prefix("1.").and_then(|rest| rest.split('.').next()?.parse().ok());
    // SAFETY: as above.
    let has_api = || !unsafe { (base.GetApi)(ORT_API_VERSION) }.is_null();
    if minor.is_some_and(|minor: u32| minor < ORT_API_VERSION) || !has_api() {
        return Err(LibraryError::TooOld { place: place(), version });
    }
    Ok((version, library))
}
