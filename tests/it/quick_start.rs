use crate::support::{Cx, cases};
use anyhow::Result;

cases! { [] => nothing_yet; }

async fn nothing_yet(_: &Cx) -> Result<()> {
    Ok(())
}
