//! Names of what runs models.

use std::str::FromStr;

use wrun_worker::Provider;

use super::BadValue;

/// A back end, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackEnd {
    Tract,
    OnnxRuntime,
}

/// An execution provider of ONNX Runtime, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProviderName(pub(crate) Provider);

impl BackEnd {
    /// As people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::OnnxRuntime => "onnxruntime",
        }
    }
}

impl FromStr for BackEnd {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let all = [Self::Tract, Self::OnnxRuntime];
        let found = all.into_iter().find(|back_end| back_end.name() == text);
        found.ok_or_else(|| BadValue(format!("`{text}`: write tract or onnxruntime")))
    }
}

impl FromStr for ProviderName {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let found = Provider::ALL.into_iter().find(|provider| provider.name() == text);
        let names = Provider::ALL.map(Provider::name).join(", ");
        found.map(Self).ok_or_else(|| BadValue(format!("`{text}`: write one of {names}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_others_are_told_which_there_are() {
        assert_eq!("onnxruntime".parse(), Ok(BackEnd::OnnxRuntime));
        assert_eq!("webgpu".parse(), Ok(ProviderName(Provider::WebGpu)));
        for provider in Provider::ALL {
            assert_eq!(provider.name().parse(), Ok(ProviderName(provider)));
        }
        let BadValue(text) = "onnx".parse::<BackEnd>().unwrap_err();
        assert_eq!(text, "`onnx`: write tract or onnxruntime");
        let BadValue(text) = "GPU".parse::<ProviderName>().unwrap_err();
        assert_eq!(text, "`GPU`: write one of tensorrt, cuda, webgpu, cpu");
    }
}
