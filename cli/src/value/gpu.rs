//! GPUs that a task asks for: `1`, `0.5` or `2:a100`; and those that a node has:
//! `2xa100:80GiB`.

use std::str::FromStr;

use wrun_protocol::scheduling::{Gpu, GpuRequest, MAX_GPUS};

use super::{BadValue, Size, scaled};

/// What a task asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedGpu(pub(crate) GpuRequest);

/// Like cards that a node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cards(pub(crate) Vec<Gpu>);

/// Thousandths of `text` cards; `None` for what is no share and no whole number of cards.
pub(crate) fn thousandths(text: &str) -> Option<u32> {
    let milli = u32::try_from(scaled(text, 1000)?).ok()?;
    let whole = milli.is_multiple_of(1000) && milli <= MAX_GPUS * 1000;
    (milli > 0 && (milli < 1000 || whole)).then_some(milli)
}

impl FromStr for WantedGpu {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (cards, model) = text.split_once(':').map_or((text, None), |(n, m)| (n, Some(m)));
        let milli = thousandths(cards.trim()).filter(|_| model != Some(""));
        let Some(milli) = milli else {
            return Err(BadValue(format!(
                "`{text}`: write a share of a card below 1 or 1 to {MAX_GPUS} cards, and the model where it matters, like 0.5 or 2:a100"
            )));
        };
        let models = model.into_iter().flat_map(|models| models.split('|')).map(str::to_owned);
        Ok(Self(GpuRequest { milli, memory: 0, models: models.collect() }))
    }
}

impl FromStr for Cards {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let refused = || {
            BadValue(format!(
                "`{text}`: write MODEL:MEMORY or NxMODEL:MEMORY with at most {MAX_GPUS} cards, like 2xa100:80GiB"
            ))
        };
        let (many, memory) = text.rsplit_once(':').ok_or_else(refused)?;
        let counted = many.split_once('x').and_then(|(n, model)| Some((n.parse().ok()?, model)));
        let (count, model) = counted.unwrap_or((1_u32, many));
        let memory: Size = memory.parse().map_err(|_| refused())?;
        if model.is_empty() || count == 0 || count > MAX_GPUS {
            return Err(refused());
        }
        let card = Gpu { model: model.to_owned(), memory: memory.0 };
        Ok(Self(vec![card; count as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_ask_for_shares_or_whole_cards() {
        let milli = |text: &str| text.parse::<WantedGpu>().map(|gpu| gpu.0.milli).ok();
        assert_eq!(
            (milli("0.5"), milli("2"), milli("1:a100")),
            (Some(500), Some(2000), Some(1000))
        );
        assert_eq!("1:a|b".parse::<WantedGpu>().unwrap().0.models, ["a", "b"]);
        for text in ["", "0", "-1", "1.5", "65", "x", "1:"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }

    #[test]
    fn nodes_have_cards_by_model() {
        let cards: Cards = "2xa100:80GiB".parse().unwrap();
        assert_eq!(cards.0, vec![Gpu { model: "a100".into(), memory: 80 << 30 }; 2]);
        let boxed: Cards = "xavier:8G".parse().unwrap();
        assert_eq!((boxed.0.len(), boxed.0[0].model.as_str()), (1, "xavier"));
        for text in ["", "a100", "0xa:1G", "99xa:1G", ":1G", "a:lots"] {
            assert!(text.parse::<Cards>().is_err(), "{text}");
        }
    }
}
