//! The jobs by number. Numbers are dense and ascending, so that jobs are kept in pages and
//! pages in chapters: a job is found in three steps, whatever their number, and where few
//! of many live, little is kept of the others.

use std::collections::BTreeMap;

use wrun_protocol::JobId;

use super::jobs::Job;

/// Jobs of a page.
const PAGE: usize = 64;
/// Pages of a chapter.
const CHAPTER: usize = 4096;

#[derive(Debug)]
struct Page {
    jobs: Box<[Option<Job>; PAGE]>,
    live: usize,
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
    chapters: BTreeMap<u64, Chapter>,
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

    pub(crate) fn get(&self, job: JobId) -> Option<&Job> {
        let (chapter, page, slot) = place(job);
        let page = self.chapters.get(&chapter)?.pages.get(page)?.as_ref()?;
        page.jobs.get(slot)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, job: JobId) -> Option<&mut Job> {
        let (chapter, page, slot) = place(job);
        let page = self.chapters.get_mut(&chapter)?.pages.get_mut(page)?.as_mut()?;
        page.jobs.get_mut(slot)?.as_mut()
    }

    pub(crate) fn insert(&mut self, id: JobId, job: Job) {
        let (number, page, slot) = place(id);
        let chapter = self.chapters.entry(number).or_default();
        if chapter.pages.len() <= page {
            chapter.pages.resize_with(page + 1, || None);
        }
        let Some(entry) = chapter.pages.get_mut(page) else { return };
        let page = entry.get_or_insert_with(|| {
            chapter.live += 1;
            Page { jobs: Box::new([const { None }; PAGE]), live: 0 }
        });
        if let Some(slot) = page.jobs.get_mut(slot)
            && slot.replace(job).is_none()
        {
            page.live += 1;
            self.count += 1;
        }
    }

    pub(crate) fn remove(&mut self, id: JobId) -> Option<Job> {
        let (number, page, slot) = place(id);
        let chapter = self.chapters.get_mut(&number)?;
        let entry = chapter.pages.get_mut(page)?;
        let page = entry.as_mut()?;
        let job = page.jobs.get_mut(slot)?.take()?;
        page.live -= 1;
        self.count -= 1;
        if page.live == 0 {
            *entry = None;
            chapter.live -= 1;
            if chapter.live == 0 {
                self.chapters.remove(&number);
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
        let chapters = self.chapters.range(..=last).rev();
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
        let jobs = page.jobs.iter().enumerate();
        jobs.filter_map(move |(slot, job)| Some((JobId(first + (at + slot) as u64), job.as_ref()?)))
    })
}
