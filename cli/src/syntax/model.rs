//! `wrun model` and `wrun models`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use wrun_protocol::TenantName;
use wrun_protocol::limits::MAX_MODEL_BATCH;
use wrun_protocol::model::{self, ModelRef};

use crate::value::{Axis, Span, Whole};

/// Keeps the models that guests load by name: pushed once, used by any job that names them
#[derive(Debug, Args)]
pub(crate) struct Model {
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

/// What to do with a model.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Uploads a model under a name and a tag
    ///
    /// Only what the cluster lacks is sent. Where the tag points at another model it is moved;
    /// jobs, services, workflows and schedules that use the model it pointed at keep that. The
    /// settings are part of what is pushed: to change them, push the file again with others.
    Push(Push),
    /// Shows one tag of a model: what it points at, who may use it and what does
    Show(Show),
    /// Removes a tag of a model
    ///
    /// Refused while live work uses what no other tag points at, unless forced. What uses it then
    /// can load it no more, except where it has it already.
    Rm(Rm),
    /// Lets another tenant use a model, with all its tags
    ///
    /// It is called TENANT/NAME[:TAG] there.
    Share(Share),
    /// Lets another tenant use a model no more
    Unshare(Unshare),
}

/// `wrun model push`.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// What it is called; the tag is `latest` unless given
    #[arg(value_name = "NAME[:TAG]", value_parser = own)]
    pub(crate) model: ModelRef,

    /// The model's file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// How the file is to be read
    #[arg(long, value_enum, value_name = "ENCODING", default_value = "onnx")]
    pub(crate) encoding: Encoding,

    /// What it is to run on
    #[arg(long, value_enum, value_name = "TARGET", default_value = "any")]
    pub(crate) target: Target,

    /// Items that one run computes together, at most; 1: each alone [default: 16]
    #[arg(long, value_name = "N")]
    pub(crate) max_batch: Option<Whole<1, MAX_MODEL_BATCH>>,

    /// How long an item waits for others, at most; nothing waits where there are none
    /// [default: 2ms]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) max_delay: Option<Span>,

    /// By which axis of a tensor, counted from 0, items of a batch are told apart; given for every
    /// output, and each input that has one [default: nodes find it out]
    #[arg(long, value_name = "TENSOR=AXIS")]
    pub(crate) batch_axis: Vec<Axis>,
}

/// See `--encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// An ONNX graph, in one file
    Onnx,
}

/// See `--target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Whatever the node has, the fastest first
    Any,
    /// The processor
    Cpu,
    /// A GPU; never the processor
    Gpu,
}

/// `wrun model show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Which; the tag is `latest` unless given. Another tenant's: TENANT/NAME[:TAG]
    #[arg(value_name = "MODEL")]
    pub(crate) model: ModelRef,
}

/// `wrun model rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Which; the tag is `latest` unless given. Another tenant's (admins only): TENANT/NAME[:TAG]
    #[arg(value_name = "MODEL")]
    pub(crate) model: ModelRef,

    /// Remove it though live work uses it
    #[arg(long, short)]
    pub(crate) force: bool,
}

/// `wrun model share`.
#[derive(Debug, Args)]
pub(crate) struct Share {
    /// Which, without a tag. Another tenant's (admins only): TENANT/NAME
    #[arg(value_name = "NAME", value_parser = untagged)]
    pub(crate) model: ModelRef,

    /// Who may use it
    #[arg(long, value_name = "TENANT")]
    pub(crate) with: TenantName,
}

/// `wrun model unshare`.
#[derive(Debug, Args)]
pub(crate) struct Unshare {
    /// Which, without a tag. Another tenant's (admins only): TENANT/NAME
    #[arg(value_name = "NAME", value_parser = untagged)]
    pub(crate) model: ModelRef,

    /// Who may use it no more
    #[arg(long, value_name = "TENANT")]
    pub(crate) with: TenantName,

    /// Do so though live work of that tenant uses it
    #[arg(long, short)]
    pub(crate) force: bool,
}

/// Lists models: my tenant's, and those that others share with it
#[derive(Debug, Args)]
pub(crate) struct Models {
    /// Of every tenant (admins only)
    #[arg(long, short)]
    pub(crate) all: bool,
}

fn own(text: &str) -> Result<ModelRef, String> {
    let model: ModelRef = text.parse()?;
    match &model.tenant {
        None => Ok(model),
        Some(_) => {
            Err(format!("`{text}`: models are pushed to one's own tenant; write NAME[:TAG]"))
        }
    }
}

fn untagged(text: &str) -> Result<ModelRef, String> {
    if text.contains(':') {
        return Err(format!("`{text}`: a model is shared with all its tags; leave out the tag"));
    }
    text.parse()
}

impl From<Encoding> for model::Encoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Onnx => Self::Onnx,
        }
    }
}

impl From<Target> for model::Target {
    fn from(target: Target) -> Self {
        match target {
            Target::Any => Self::Any,
            Target::Cpu => Self::Cpu,
            Target::Gpu => Self::Gpu,
        }
    }
}
