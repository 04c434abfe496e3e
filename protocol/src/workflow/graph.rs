//! Who comes before whom.

use super::Workflow;

/// The needs of every step, those that follow from outputs included, both ways. Steps are
/// their places; the last step is not in it, since it comes after all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// What each step needs, in ascending order.
    pub needs: Vec<Vec<u16>>,
    /// What needs each step, in ascending order.
    pub needed_by: Vec<Vec<u16>>,
}

impl Graph {
    /// Of steps whose references lie within the list; others are left out.
    pub(super) fn of(workflow: &Workflow) -> Self {
        let count = workflow.steps.len();
        let mut graph = Self { needs: Vec::new(), needed_by: vec![Vec::new(); count] };
        for (index, step) in (0..).zip(&workflow.steps) {
            let sources = step.sources().map(|(_, step)| step);
            let mut needs: Vec<u16> = step.needs.iter().copied().chain(sources).collect();
            needs.sort_unstable();
            needs.dedup();
            needs.retain(|need| usize::from(*need) < count);
            for need in &needs {
                if let Some(needed_by) = graph.needed_by.get_mut(usize::from(*need)) {
                    needed_by.push(index);
                }
            }
            graph.needs.push(needs);
        }
        graph
    }

    /// What a step needs.
    pub fn needs(&self, step: u16) -> &[u16] {
        self.needs.get(usize::from(step)).map_or(&[], Vec::as_slice)
    }

    /// What needs a step.
    pub fn needed_by(&self, step: u16) -> &[u16] {
        self.needed_by.get(usize::from(step)).map_or(&[], Vec::as_slice)
    }

    /// Those steps and all that come after them.
    pub fn downstream(&self, steps: impl IntoIterator<Item = u16>) -> Vec<bool> {
        let mut reached = vec![false; self.needs.len()];
        let mut open: Vec<u16> = steps.into_iter().collect();
        while let Some(step) = open.pop() {
            if let Some(reached) = reached.get_mut(usize::from(step))
                && !std::mem::replace(reached, true)
            {
                open.extend(self.needed_by(step));
            }
        }
        reached
    }

    /// Steps each of which needs the next, the last the first; `None` where there are none.
    pub(super) fn cycle(&self) -> Option<Vec<u16>> {
        let mut open: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut free: Vec<u16> =
            (0..).zip(&open).filter(|(_, needs)| **needs == 0).map(|(step, _)| step).collect();
        while let Some(step) = free.pop() {
            for after in self.needed_by(step) {
                if let Some(left) = open.get_mut(usize::from(*after)) {
                    *left -= 1;
                    if *left == 0 {
                        free.push(*after);
                    }
                }
            }
        }
        // A step that is left needs another that is left: going on leads to one seen before.
        let left = |step: &u16| open.get(usize::from(*step)).is_some_and(|left| *left > 0);
        let first = (0..self.needs.len() as u16).find(left)?;
        let next = |step: &u16| self.needs(*step).iter().copied().find(left);
        let mut path: Vec<u16> = Vec::new();
        for step in std::iter::successors(Some(first), next) {
            if let Some(start) = path.iter().position(|seen| *seen == step) {
                return Some(path.split_off(start));
            }
            path.push(step);
        }
        None
    }
}
