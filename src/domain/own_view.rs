//! The projection of a domain's own view.

use std::marker::PhantomData;

use super::{Domain, FoldError, Projection, SetRule};
use crate::event::Event;

/// The projection that a domain's own fold and view make up.
pub(super) struct OwnView<D>(PhantomData<fn() -> D>);

impl<D: Domain> Projection for OwnView<D> {
    const NAME: &'static str = D::NAME;
    const VIEW: &'static str = D::VIEW;
    const SET_RULES: &'static [SetRule] = D::SET_RULES;
    const FOLD_VERSION: u32 = D::FOLD_VERSION;
    type Event = D::Event;
    type Row = D::State;

    fn apply(
        row: Option<D::State>,
        event: &Event<D::Event>,
    ) -> Result<Option<D::State>, FoldError> {
        Ok(D::apply(row, &event.payload))
    }
}
