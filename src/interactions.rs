//! Operations on interactions: what running tasks ask people.

use crate::app::App;
use crate::auth::Principal;
use crate::domain::answering::{Wrong, check};
use crate::error::{ApiError, FieldError};
use crate::store::interactions::{AnswerInteraction, AnswerOutcome, InteractionRecord};
use muster_protocol::error::code;
use muster_protocol::ids::{InteractionId, TaskId};
use muster_protocol::interaction::{Interaction, InteractionState, ReplyInteraction};

impl App {
    /// Interactions of the tasks that the caller may see, at most `limit`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn interactions(&self, who: &Principal, state: Option<&InteractionState>, limit: u32) -> Result<Vec<Interaction>, ApiError> {
        let owner = (!who.sees_everything()).then_some(&who.id);
        let records = self.store.interactions(state, owner, limit).await?;
        Ok(records.into_iter().map(|record| record.interaction).collect())
    }

    /// The interactions of a task, oldest first.
    ///
    /// # Errors
    /// 404 if there is no such task, or it is not the caller's.
    pub async fn interactions_of(&self, who: &Principal, task: TaskId) -> Result<Vec<Interaction>, ApiError> {
        self.task_for(who, task).await?;
        let records = self.store.interactions_of(task).await?;
        Ok(records.into_iter().map(|record| record.interaction).collect())
    }

    /// Answers an interaction; at most once.
    ///
    /// # Errors
    /// 404; 409 `answered` or `expired`; 422 if the answer does not fit what was asked.
    pub async fn reply(&self, who: &Principal, id: InteractionId, reply: ReplyInteraction) -> Result<Interaction, ApiError> {
        let missing = || ApiError::not_found("interaction", id);
        let record = self.store.interaction(id).await?.filter(|record| may_answer(who, record)).ok_or_else(missing)?;
        check(&record.interaction, &reply)
            .map_err(|Wrong { field, message }| ApiError::Invalid { fields: vec![FieldError::new(field, message)] })?;
        match self.store.write(AnswerInteraction { id, reply, by: who.id.clone(), now: self.now() }).await? {
            AnswerOutcome::NotFound => Err(missing()),
            AnswerOutcome::Taken(interaction) => Ok(*interaction),
            AnswerOutcome::TooLate(interaction) => Err(too_late(&interaction)),
        }
    }
}

fn may_answer(who: &Principal, record: &InteractionRecord) -> bool {
    who.sees_everything() || record.owner == who.id
}

fn too_late(interaction: &Interaction) -> ApiError {
    let (code, what) = match interaction.state {
        InteractionState::Expired => (code::EXPIRED, "its deadline has passed, and it was refused"),
        InteractionState::Void => (code::EXPIRED, "the run that asked has ended"),
        _ => (code::ANSWERED, "it was answered before"),
    };
    ApiError::Conflict {
        code,
        message: format!("the answer comes too late: {what}"),
        details: serde_json::json!({ "state": interaction.state }),
    }
}
