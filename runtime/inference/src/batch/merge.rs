//! Inputs of several requests as one, and the outputs split again. Rows are only moved, never
//! looked at.

use bytes::{Bytes, BytesMut};

use super::axes::Axes;
use crate::tensor::{Tensor, byte_length};

/// Inputs of all rows together that are larger are not compared, and so never merged.
pub(crate) const MAX_COMMON: usize = 64;

/// Requests that can be merged have the same: all sizes but the batch's, and what they share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MergeKey {
    sizes: Vec<u32>,
    common: Vec<Bytes>,
}

/// The outputs of a batch are not what can be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "output {index} has the dimensions {dimensions:?}, which {rows} rows cannot share along axis {axis}"
)]
pub(crate) struct SplitError {
    index: usize,
    dimensions: Box<[u32]>,
    rows: u64,
    axis: usize,
}

impl Axes {
    /// What a request can be merged with, and how many rows it has; `None` where it cannot.
    pub(crate) fn key(&self, inputs: &[Tensor]) -> Option<(MergeKey, u32)> {
        let mut key = MergeKey { sizes: Vec::new(), common: Vec::new() };
        let mut rows = None;
        for (tensor, axis) in inputs.iter().zip(&self.inputs) {
            let dimensions = tensor.dimensions();
            key.sizes.extend([u32::MAX, tensor.dimensions().len() as u32]);
            let Some(axis) = *axis else {
                if tensor.data().len() > MAX_COMMON {
                    return None;
                }
                key.sizes.extend(dimensions);
                key.common.push(tensor.data().clone());
                continue;
            };
            let own = *dimensions.get(axis).filter(|rows| **rows > 0)?;
            if *rows.get_or_insert(own) != own {
                return None;
            }
            let others = dimensions.iter().enumerate().filter(|(index, _)| *index != axis);
            key.sizes.extend(others.map(|(_, size)| size));
        }
        Some((key, rows?))
    }

    /// The inputs of all requests, which have the same key, as those of one.
    pub(crate) fn merge(&self, requests: &[Vec<Tensor>]) -> Vec<Tensor> {
        let of_input = |(index, axis): (usize, &Option<usize>)| {
            let parts: Vec<&Tensor> = requests.iter().filter_map(|all| all.get(index)).collect();
            match axis {
                Some(axis) => concatenate(&parts, *axis),
                None => parts.first().map(|first| (*first).clone()),
            }
        };
        self.inputs.iter().enumerate().filter_map(of_input).collect()
    }

    /// The outputs of a merged run, for each request by its rows.
    pub(crate) fn split(
        &self,
        outputs: &[Tensor],
        rows: &[u32],
    ) -> Result<Vec<Vec<Tensor>>, SplitError> {
        let total: u64 = rows.iter().map(|rows| u64::from(*rows)).sum();
        let mut requests: Vec<Vec<Tensor>> = rows.iter().map(|_| Vec::new()).collect();
        for (index, (tensor, axis)) in outputs.iter().zip(&self.outputs).enumerate() {
            let parts = cut(tensor, *axis, rows, total).ok_or_else(|| SplitError {
                index,
                dimensions: tensor.dimensions().into(),
                rows: total,
                axis: *axis,
            })?;
            requests.iter_mut().zip(parts).for_each(|(request, part)| request.push(part));
        }
        Ok(requests)
    }
}

/// How a tensor lies in memory, seen from an axis: so many blocks, each with `size` pieces of
/// `inner` bytes.
struct Layout {
    blocks: usize,
    size: u32,
    inner: usize,
}

fn layout(tensor: &Tensor, axis: usize) -> Option<Layout> {
    let (before, rest) = tensor.dimensions().split_at_checked(axis)?;
    let (size, after) = rest.split_first()?;
    let blocks = before.iter().try_fold(1_usize, |all, size| all.checked_mul(*size as usize))?;
    let inner = usize::try_from(byte_length(after, tensor.element())?).ok()?;
    Some(Layout { blocks, size: *size, inner })
}

fn concatenate(parts: &[&Tensor], axis: usize) -> Option<Tensor> {
    let (first, others) = parts.split_first()?;
    if others.is_empty() {
        return Some((*first).clone());
    }
    let layouts: Vec<_> = parts.iter().map(|part| layout(part, axis)).collect::<Option<_>>()?;
    let size = layouts.iter().try_fold(0_u32, |all, part| all.checked_add(part.size))?;
    let mut data = BytesMut::with_capacity(parts.iter().map(|part| part.data().len()).sum());
    for block in 0..layouts.first()?.blocks {
        for (part, Layout { size, inner, .. }) in parts.iter().zip(&layouts) {
            let length = *size as usize * inner;
            data.extend_from_slice(part.data().get(block * length..(block + 1) * length)?);
        }
    }
    Some(Tensor::new(resized(first, axis, size)?, first.element(), data))
}

/// The parts of a tensor for so many rows each.
fn cut(tensor: &Tensor, axis: usize, rows: &[u32], total: u64) -> Option<Vec<Tensor>> {
    let Layout { blocks, size, inner } = layout(tensor, axis)?;
    let of_row = u64::from(size).checked_div(total)?;
    if of_row * total != u64::from(size) {
        return None;
    }
    let row = usize::try_from(of_row).ok()? * inner;
    let block_length = size as usize * inner;
    let mut parts = Vec::with_capacity(rows.len());
    let mut start = 0;
    for rows in rows {
        let length = *rows as usize * row;
        // A copy, though one block could be shared: who keeps a row must not keep the batch.
        let mut data = BytesMut::with_capacity(blocks * length);
        for block in 0..blocks {
            let at = block * block_length + start;
            data.extend_from_slice(tensor.data().get(at..at + length)?);
        }
        let size = u32::try_from(of_row).ok()?.checked_mul(*rows)?;
        parts.push(Tensor::new(resized(tensor, axis, size)?, tensor.element(), data));
        start += length;
    }
    Some(parts)
}

/// The dimensions with another size at the axis.
fn resized(tensor: &Tensor, axis: usize, size: u32) -> Option<Box<[u32]>> {
    let mut dimensions: Box<[u32]> = tensor.dimensions().into();
    *dimensions.get_mut(axis)? = size;
    Some(dimensions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tensor::ElementType;

    fn bytes(dimensions: &[u32], data: &[u8]) -> Tensor {
        Tensor::new(dimensions, ElementType::U8, data.to_vec())
    }

    #[test]
    fn rows_on_an_inner_axis_are_interleaved_and_come_apart_again() {
        let axes = Axes { inputs: vec![Some(1)], outputs: vec![1] };
        let first = vec![bytes(&[2, 1, 2], &[1, 2, 3, 4])];
        let second = vec![bytes(&[2, 2, 2], &[5, 6, 7, 8, 9, 10, 11, 12])];
        let merged = axes.merge(&[first.clone(), second.clone()]);
        assert_eq!(merged, [bytes(&[2, 3, 2], &[1, 2, 5, 6, 7, 8, 3, 4, 9, 10, 11, 12])]);
        assert_eq!(axes.split(&merged, &[1, 2]).unwrap(), [first, second]);
    }

    #[test]
    fn requests_merge_where_all_else_is_the_same() {
        let axes = Axes { inputs: vec![Some(0), None], outputs: vec![0] };
        let rate = |rate: u8| bytes(&[], &[rate]);
        let (key, rows) = axes.key(&[bytes(&[2, 3], &[0; 6]), rate(8)]).unwrap();
        assert_eq!(rows, 2);
        let same = axes.key(&[bytes(&[5, 3], &[0; 15]), rate(8)]).unwrap();
        assert_eq!(same, (key.clone(), 5));
        let longer = axes.key(&[bytes(&[2, 4], &[0; 8]), rate(8)]).unwrap();
        assert_ne!(longer.0, key);
        let other_rate = axes.key(&[bytes(&[2, 3], &[0; 6]), rate(16)]).unwrap();
        assert_ne!(other_rate.0, key);
        assert_eq!(axes.key(&[bytes(&[0, 3], &[]), rate(8)]), None, "nothing to merge");
    }

    #[test]
    fn inputs_with_different_numbers_of_rows_are_not_merged() {
        let axes = Axes { inputs: vec![Some(0), Some(0)], outputs: vec![0] };
        assert_eq!(axes.key(&[bytes(&[2], &[0; 2]), bytes(&[1], &[0])]), None);
    }

    #[test]
    fn an_output_that_rows_cannot_share_is_refused() {
        let axes = Axes { inputs: vec![Some(0)], outputs: vec![0] };
        let error = axes.split(&[bytes(&[3], &[0; 3])], &[1, 1]).unwrap_err();
        assert!(error.to_string().contains("which 2 rows cannot share along axis 0"), "{error}");
        assert!(axes.split(&[bytes(&[], &[0])], &[1, 1]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_merged_comes_apart_as_it_was(
            shape in prop::collection::vec(1..4_u32, 1..4),
            axis in 0..3_usize,
            rows in prop::collection::vec(1..4_u32, 1..5),
        ) {
            let axis = axis % shape.len();
            let axes = Axes { inputs: vec![Some(axis)], outputs: vec![axis] };
            let mut next = 0_u8;
            let requests: Vec<Vec<Tensor>> = rows.iter().map(|rows| {
                let mut shape = shape.clone();
                shape[axis] = *rows;
                let data = (0..shape.iter().product::<u32>()).map(|_| {
                    next = next.wrapping_add(1);
                    next
                });
                vec![bytes(&shape, &data.collect::<Vec<_>>())]
            }).collect();
            let merged = axes.merge(&requests);
            prop_assert!(merged[0].check().is_ok());
            prop_assert_eq!(axes.split(&merged, &rows).unwrap(), requests);
        }
    }
}
