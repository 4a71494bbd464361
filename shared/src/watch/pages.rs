//! Slab storage with stable handles that grows page by page. Growing moves no entries, so it takes
//! as long with a million entries as with a thousand.

/// Entries per page.
const PAGE_LENGTH: usize = 1_024;

/// The position of an entry. It is reused after the entry is removed.
pub(super) type Handle = u32;

/// Entries by their handles.
#[derive(Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Vec<Option<T>>>,
    free: Vec<Handle>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Pages<T> {
    pub(super) fn insert(&mut self, entry: T) -> Handle {
        if let Some(handle) = self.free.pop() {
            *self.slot_mut(handle) = Some(entry);
            return handle;
        }
        if self
            .pages
            .last()
            .is_none_or(|page| page.len() == PAGE_LENGTH)
        {
            self.pages.push(Vec::with_capacity(PAGE_LENGTH));
        }
        let handle = self.end();
        let page = self.pages.last_mut().expect("a page was added");
        page.push(Some(entry));
        handle
    }

    pub(super) fn remove(&mut self, handle: Handle) -> Option<T> {
        let entry = self.slot_mut(handle).take();
        if entry.is_some() {
            self.free.push(handle);
        }
        entry
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&T> {
        let handle = handle as usize;
        self.pages
            .get(handle / PAGE_LENGTH)?
            .get(handle % PAGE_LENGTH)?
            .as_ref()
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let handle = handle as usize;
        self.pages
            .get_mut(handle / PAGE_LENGTH)?
            .get_mut(handle % PAGE_LENGTH)?
            .as_mut()
    }

    /// The first handle that was never in use.
    pub(super) fn end(&self) -> Handle {
        let full = self.pages.len().saturating_sub(1) * PAGE_LENGTH;
        (full + self.pages.last().map_or(0, Vec::len)) as Handle
    }

    fn slot_mut(&mut self, handle: Handle) -> &mut Option<T> {
        let handle = handle as usize;
        &mut self.pages[handle / PAGE_LENGTH][handle % PAGE_LENGTH]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_stay_and_are_used_again() {
        let mut pages = Pages::default();
        let handles: Vec<_> = (0..3_000).map(|number| pages.insert(number)).collect();
        assert_eq!(pages.end(), 3_000);
        assert_eq!(pages.remove(handles[1_500]), Some(1_500));
        assert_eq!(pages.remove(handles[1_500]), None);
        assert_eq!(pages.get(handles[1_500]), None);
        assert_eq!(pages.insert(7), handles[1_500]);
        assert_eq!(
            (pages.get(2_999), pages.get(3_000), pages.end()),
            (Some(&2_999), None, 3_000)
        );
    }
}
