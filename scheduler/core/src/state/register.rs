//! The jobs by number. Numbers are dense and ascending, so that jobs are kept in pages and
//! pages in chapters: a job is found in three steps, whatever their number, and where few
//! of many live, little is kept of the others.

use wrun_protocol::{JobId, SubmitId};

use super::jobs::Job;

/// Jobs of a page.
const PAGE: usize = 64;
/// Pages of a chapter.
const CHAPTER: usize = 4096;

#[derive(Debug)]
struct Page {
    slots: Box<Slots>,
    live: usize,
}

#[derive(Debug)]
struct Slots {
    jobs: [Option<Job>; PAGE],
    /// By which submission each came, which only its end needs to know, and who asks.
    submits: [SubmitId; PAGE],
}

impl Page {
    fn empty() -> Self {
        let (jobs, submits) = ([const { None }; PAGE], [SubmitId([0; 16]); PAGE]);
        Self { slots: Box::new(Slots { jobs, submits }), live: 0 }
    }
}

/// As many pages as it has had at once, up to [`CHAPTER`].
#[derive(Debug, Default)]
struct Chapter {
    pages: Vec<Option<Page>>,
    live: usize,
}

/// Every job that has not ended.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// By number, in order: they are few.
    chapters: Vec<(u64, Chapter)>,
    count: usize,
}

/// Where a job is: chapter, page, slot.
fn place(job: JobId) -> (u64, usize, usize) {
    let page = job.0 / PAGE as u64;
    let slot = (job.0 % PAGE as u64) as usize;
    (page / CHAPTER as u64, (page % CHAPTER as u64) as usize, slot)
}

impl Jobs {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Where a chapter is, or would be.
    fn find(&self, number: u64) -> Result<usize, usize> {
        // Mostly none between the first and the last is missing.
        let first = self.chapters.first().map_or(0, |(first, _)| *first);
        let guess = usize::try_from(number.wrapping_sub(first)).unwrap_or(usize::MAX);
        match self.chapters.get(guess) {
            Some((found, _)) if *found == number => Ok(guess),
            _ => self.chapters.binary_search_by_key(&number, |(number, _)| *number),
        }
    }

    fn page(&self, number: u64, page: usize) -> Option<&Page> {
        let (_, chapter) = self.chapters.get(self.find(number).ok()?)?;
        chapter.pages.get(page)?.as_ref()
    }

    pub(crate) fn get(&self, job: JobId) -> Option<&Job> {
        let (chapter, page, slot) = place(job);
        self.page(chapter, page)?.slots.jobs.get(slot)?.as_ref()
    }

    /// By which submission the job came.
    pub(crate) fn submit_of(&self, job: JobId) -> Option<SubmitId> {
        let (chapter, page, slot) = place(job);
        let page = self.page(chapter, page)?;
        page.slots.jobs.get(slot)?.as_ref()?;
        page.slots.submits.get(slot).copied()
    }

    pub(crate) fn get_mut(&mut self, job: JobId) -> Option<&mut Job> {
        let (chapter, page, slot) = place(job);
        let at = self.find(chapter).ok()?;
        let (_, chapter) = self.chapters.get_mut(at)?;
        chapter.pages.get_mut(page)?.as_mut()?.slots.jobs.get_mut(slot)?.as_mut()
    }

    /// Adds a job that came by that submission.
    pub(crate) fn insert(&mut self, id: JobId, job: Job, submit: SubmitId) {
        let (number, page, slot) = place(id);
        let at = self.find(number).unwrap_or_else(|at| {
            self.chapters.insert(at, (number, Chapter::default()));
            at
        });
        let Some((_, chapter)) = self.chapters.get_mut(at) else { return };
        if chapter.pages.len() <= page {
            chapter.pages.resize_with(page + 1, || None);
        }
        let Some(entry) = chapter.pages.get_mut(page) else { return };
        let page = entry.get_or_insert_with(|| {
            chapter.live += 1;
            Page::empty()
        });
        let Slots { jobs, submits } = &mut *page.slots;
        let (Some(slot), Some(by)) = (jobs.get_mut(slot), submits.get_mut(slot)) else { return };
        *by = submit;
        if slot.replace(job).is_none() {
            page.live += 1;
            self.count += 1;
        }
    }

    pub(crate) fn remove(&mut self, id: JobId) -> Option<Job> {
        let (number, page, slot) = place(id);
        let at = self.find(number).ok()?;
        let (_, chapter) = self.chapters.get_mut(at)?;
        let entry = chapter.pages.get_mut(page)?;
        let page = entry.as_mut()?;
        let job = page.slots.jobs.get_mut(slot)?.take()?;
        page.live -= 1;
        self.count -= 1;
        if page.live == 0 {
            *entry = None;
            chapter.live -= 1;
            if chapter.live == 0 {
                self.chapters.remove(at);
            }
        }
        Some(job)
    }

    /// Every job, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.chapters.iter().flat_map(|(number, of)| present(*number, &of.pages))
    }

    /// Jobs older than `before`, newest first.
    pub(crate) fn before(&self, before: JobId) -> impl Iterator<Item = (JobId, &Job)> {
        let (last, page, _) = place(before);
        let upto = self.find(last).map_or_else(|at| at, |at| at + 1);
        let chapters = self.chapters.iter().take(upto).rev();
        let all = chapters.flat_map(move |(number, chapter)| {
            let pages = if *number == last { page + 1 } else { CHAPTER };
            let pages = chapter.pages.get(..pages).unwrap_or(&chapter.pages);
            present(*number, pages).rev()
        });
        all.skip_while(move |(id, _)| *id >= before)
    }
}

/// The jobs of the first pages of a chapter.
fn present(chapter: u64, pages: &[Option<Page>]) -> impl DoubleEndedIterator<Item = (JobId, &Job)> {
    let first = chapter * (CHAPTER * PAGE) as u64;
    let pages = pages.iter().enumerate();
    let pages = pages.filter_map(|(at, page)| Some((at * PAGE, page.as_ref()?)));
    pages.flat_map(move |(at, page)| {
        let jobs = page.slots.jobs.iter().enumerate();
        jobs.filter_map(move |(slot, job)| Some((JobId(first + (at + slot) as u64), job.as_ref()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_takes_one_line_of_memory() {
        assert_eq!((size_of::<Option<Job>>(), align_of::<Job>()), (64, 64));
    }
}
