//! An app over a fresh database, with a clock that stands still until it is moved.

use super::App;
use crate::clock::{ManualClock, SystemIds};
use crate::config::{Config, ServeArgs, Surroundings};
use crate::domain::federation::Shared;
use crate::lifecycle::Lifecycle;
use crate::store::{OpenOptions, Store};
use muster_protocol::ids::InstanceId;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// The instance of the worker that [`register`] registers.
pub(crate) const INSTANCE: InstanceId = InstanceId(uuid::Uuid::from_u128(1));

pub(crate) async fn app(dir: &Path, clock: &Arc<ManualClock>) -> App {
    let around = Surroundings { env: Vec::new(), host: "here".to_owned(), user_data_dir: Some(dir.to_owned()) };
    let config = Config::load(&ServeArgs::default(), &around).unwrap();
    let (url, ids) = (format!("sqlite://{}", dir.join("test.db").display()), Arc::new(SystemIds::default()));
    let options = OpenOptions {
        url,
        name: "here".to_owned(),
        shared: Shared::everything(),
        readers: 2,
        queue: 100,
        clock: clock.clone(),
        ids: ids.clone(),
    };
    let store = Store::open(options).await.unwrap();
    App::new(config, store, clock.clone(), ids, Lifecycle::new())
}

/// Registers the worker `w` with what `more` says.
pub(crate) async fn register(app: &App, more: Value) {
    let mut registration = json!({ "worker_id": "w", "name": "w", "protocol_version": 1, "instance": INSTANCE });
    if let (Value::Object(registration), Value::Object(more)) = (&mut registration, more) {
        registration.extend(more);
    }
    app.register_worker(serde_json::from_value(registration).unwrap()).await.unwrap();
}
