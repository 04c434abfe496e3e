use super::*;
use crate::JobSpec;

fn version() -> ModelVersion {
    ModelVersion { digest: Digest([7; 32]), size: 3, spec: ModelSpec::new(Encoding::Onnx) }
}

fn grant(name: &str) -> ModelGrant {
    ModelGrant {
        name: name.to_owned(),
        model: ModelId { tenant: "lab".parse().unwrap(), name: "magika".parse().unwrap() },
        tag: ModelTag::default(),
        version: version(),
    }
}

fn refused(models: Vec<ModelGrant>) -> String {
    let inference = Inference { models, load: false };
    let spec = JobSpec { inference, ..JobSpec::new(Digest([1; 32])) };
    spec.check().unwrap_err().to_string()
}

#[test]
fn a_reference_reads_back_as_it_is_written() {
    for (text, full) in [
        ("magika", "magika:latest"),
        ("magika:v1.2", "magika:v1.2"),
        ("lab/all-MiniLM_L6:7", "lab/all-MiniLM_L6:7"),
    ] {
        let parsed: ModelRef = text.parse().unwrap();
        assert_eq!(parsed.to_string(), full);
        assert_eq!(full.parse(), Ok(parsed));
    }
    for text in ["", ":v1", "a:", "/a", "Lab/a", "lab/", "a b", "a:b:c", "a/b/c", "-a", "ä"] {
        assert!(text.parse::<ModelRef>().is_err(), "{text}");
    }
    let long = "x".repeat(MAX_MODEL_NAME_PLUS_ONE);
    assert!(long.parse::<ModelName>().is_err());
}

const MAX_MODEL_NAME_PLUS_ONE: usize = crate::limits::MAX_MODEL_NAME + 1;

#[test]
fn a_reference_is_the_callers_unless_it_says_otherwise() {
    let caller = "shop".parse().unwrap();
    let id = |text: &str| text.parse::<ModelRef>().unwrap().id(&caller).to_string();
    assert_eq!(id("magika"), "shop/magika");
    assert_eq!(id("lab/magika:v2"), "lab/magika");
}

#[test]
fn a_version_is_held_to_its_bounds_by_name() {
    let field = |change: fn(&mut ModelVersion)| {
        let mut version = version();
        change(&mut version);
        version.check().map_err(|error| error.field)
    };
    assert_eq!(field(|_| ()), Ok(()));
    assert_eq!(field(|version| version.size = 0), Err("file"));
    assert_eq!(field(|version| version.size = MAX_MODEL + 1), Err("file"));
    assert_eq!(field(|version| version.spec.max_batch = 0), Err("max-batch"));
    assert_eq!(field(|version| version.spec.max_batch = MAX_MODEL_BATCH + 1), Err("max-batch"));
    assert_eq!(field(|version| version.spec.max_delay_ms = u32::MAX), Err("max-delay"));
    let axis = |name: &str, axis| BTreeMap::from([(name.to_owned(), axis)]);
    assert_eq!(field(|version| version.spec.batch_axes = axis_of("", 0)), Err("batch-axis"));
    assert_eq!(field(|version| version.spec.batch_axes = axis_of("x", 99)), Err("batch-axis"));
    let mut fine = version();
    fine.spec.batch_axes = axis("state", 1);
    assert_eq!(fine.check(), Ok(()));
}

fn axis_of(name: &str, axis: u32) -> BTreeMap<String, u32> {
    BTreeMap::from([(name.to_owned(), axis)])
}

#[test]
fn a_job_calls_each_model_otherwise() {
    let twice = refused(vec![grant("a"), grant("b"), grant("a")]);
    assert!(twice.contains("two models are called `a`"), "{twice}");
    assert!(twice.contains("OTHER=lab/magika:latest"), "{twice}");
    assert!(refused(vec![grant("")]).contains("what a guest calls a model"));
    let many = (0..=MAX_MODELS_PER_JOB).map(|number| grant(&number.to_string())).collect();
    assert!(refused(many).contains(&format!("at most {MAX_MODELS_PER_JOB}")));
    let mut bad = grant("a");
    bad.version.size = 0;
    assert!(refused(vec![bad]).starts_with("`models`: `a`: file: "));
}
