//! Whose picture is looked at next. Pure.

/// Pictures that wait for one model: one of each session, the newest.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    /// Sessions in the order in which they came, with what waits.
    places: Vec<(u64, Option<T>)>,
    /// The place after the one that was served last.
    next: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { places: Vec::new(), next: 0 }
    }
}

impl<T> Turns<T> {
    /// A session begins.
    pub(crate) fn enter(&mut self, session: u64) {
        self.places.push((session, None));
    }

    /// A session ends; what waits of it is dropped.
    pub(crate) fn leave(&mut self, session: u64) {
        let Some(index) = self.places.iter().position(|(id, _)| *id == session) else { return };
        self.places.remove(index);
        if index < self.next {
            self.next -= 1;
        }
    }

    /// Puts a session's picture in line, in the place of an older one, which comes back.
    pub(crate) fn put(&mut self, session: u64, what: T) -> Option<T> {
        let place = self.places.iter_mut().find(|(id, _)| *id == session)?;
        place.1.replace(what)
    }

    /// Takes pictures of up to `most` sessions, in turn.
    pub(crate) fn take(&mut self, most: usize) -> Vec<T> {
        let count = self.places.len();
        let mut taken = Vec::new();
        let from = self.next;
        for offset in 0..count {
            if taken.len() == most {
                break;
            }
            let index = (from + offset) % count;
            if let Some(what) = self.places[index].1.take() {
                taken.push(what);
                self.next = (index + 1) % count;
            }
        }
        taken
    }

    /// Sessions that are open.
    pub(crate) const fn sessions(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_take_turns_however_fast_each_one_sends() {
        let mut turns = Turns::default();
        for session in [1, 2, 3] {
            turns.enter(session);
        }
        let mut served = Vec::new();
        // The first always has a picture, the others now and then.
        for round in 0..6 {
            turns.put(1, 1);
            if round % 2 == 0 {
                turns.put(2, 2);
                turns.put(3, 3);
            }
            served.extend(turns.take(1));
        }
        assert_eq!(served, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn the_newest_picture_counts_and_the_older_one_comes_back() {
        let mut turns = Turns::default();
        turns.enter(7);
        assert_eq!(turns.put(7, "old"), None);
        assert_eq!(turns.put(7, "new"), Some("old"));
        assert_eq!(turns.take(5), ["new"]);
        assert!(turns.take(5).is_empty());
        assert_eq!(turns.put(8, "stranger"), None);
        assert!(turns.take(5).is_empty(), "nobody waits for an answer to it");
    }

    #[test]
    fn who_leaves_takes_nobody_else_s_turn() {
        let mut turns = Turns::default();
        for session in [1, 2, 3] {
            turns.enter(session);
            turns.put(session, session);
        }
        assert_eq!(turns.take(2), [1, 2]);
        turns.leave(1);
        turns.put(2, 2);
        assert_eq!(turns.take(1), [3], "it was its turn before, and still is");
        assert_eq!(turns.take(3), [2]);
        turns.leave(3);
        turns.leave(2);
        assert_eq!(turns.sessions(), 0);
        assert!(turns.take(1).is_empty());
    }
}
