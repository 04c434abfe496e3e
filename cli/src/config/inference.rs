//! What a node runs models with, from flags, environment and `worker.toml`.

use wrun_worker::{BackEndConfig, OnnxRuntimeConfig, Provider};

use super::setting_error;
use crate::error::Error;
use crate::syntax::daemon::Inference;
use crate::toml_source::Source;
use crate::value::{BackEnd, ProviderName};

/// The back ends: what was said on the command line before what the file says. `threads` are
/// those of the node.
pub(crate) fn back_ends(
    args: &Inference,
    file: Inference,
    source: Option<&Source>,
    threads: usize,
) -> Result<Vec<BackEndConfig>, Error> {
    let names_in_file = args.back_end.is_empty();
    let names = if names_in_file { file.back_end } else { args.back_end.clone() };
    let names = if names.is_empty() { vec![BackEnd::Tract] } else { names };
    if let Some(twice) = first_repeated(&names) {
        let problem = format!("`{}` is there twice", twice.name());
        return Err(setting_error(source, names_in_file, "back_ends", &problem));
    }
    let providers_in_file = args.provider.is_empty();
    let providers = if providers_in_file { file.provider } else { args.provider.clone() };
    if let Some(ProviderName(twice)) = first_repeated(&providers) {
        let problem = format!("`{}` is there twice", twice.name());
        return Err(setting_error(source, providers_in_file, "providers", &problem));
    }
    let library_in_file = args.onnxruntime.is_none();
    let library = args.onnxruntime.clone().or(file.onnxruntime);
    if !names.contains(&BackEnd::OnnxRuntime) {
        // A setting that has no effect is a mistake.
        let set = [
            ("providers", providers_in_file, !providers.is_empty()),
            ("onnxruntime", library_in_file, library.is_some()),
        ];
        if let Some((key, in_file, _)) = set.into_iter().find(|(_, _, is_set)| *is_set) {
            let problem = "it is for the back end onnxruntime, which `back_ends` does not name";
            return Err(setting_error(source, in_file, key, &problem));
        }
    }
    let library = library.map(|path| match std::path::absolute(&path) {
        Ok(absolute) => absolute,
        Err(_) => path,
    });
    let providers = if providers.is_empty() {
        vec![Provider::Cpu]
    } else {
        providers.into_iter().map(|ProviderName(provider)| provider).collect()
    };
    let runtime = OnnxRuntimeConfig { library, providers, threads };
    let config = |name| match name {
        BackEnd::Tract => BackEndConfig::Tract,
        BackEnd::OnnxRuntime => BackEndConfig::OnnxRuntime(runtime.clone()),
    };
    Ok(names.into_iter().map(config).collect())
}

/// The back ends of a node of `wrun dev`, which has no file.
pub(crate) fn of_flags(args: &Inference, threads: usize) -> Result<Vec<BackEndConfig>, Error> {
    back_ends(args, Inference::default(), None, threads)
}

fn first_repeated<T: PartialEq + Copy>(list: &[T]) -> Option<T> {
    let repeated = |(at, item): &(usize, &T)| list.iter().take(*at).any(|before| before == *item);
    list.iter().enumerate().find(repeated).map(|(_, item)| *item)
}
