//! Sets of small numbers.

/// A set of numbers below 16: transaction ids, event indices, aggregates or actors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Set(u16);

impl Set {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) const fn from_member(member: u8) -> Self {
        Self(1 << member)
    }

    /// All numbers below `end`.
    pub(crate) const fn below(end: u8) -> Self {
        Self((1 << end) - 1)
    }

    pub(crate) const fn contains(self, member: u8) -> bool {
        self.0 >> member & 1 == 1
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn insert(&mut self, member: u8) {
        self.0 |= 1 << member;
    }

    pub(crate) const fn remove(&mut self, member: u8) {
        self.0 &= !(1 << member);
    }

    pub(crate) fn first(self) -> Option<u8> {
        self.iter().next()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..16).filter(move |member| self.contains(*member))
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(members: I) -> Self {
        members.into_iter().fold(Self::EMPTY, |set, member| {
            set.union(Self::from_member(member))
        })
    }
}
