//! Models sent by a client, in pieces that can be resumed.

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::{Upload, Wanted, Writer};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, ModelLibrary, PIECE, detectors, manage, off_thread};

/// Bytes gathered before they are written.
const GATHER: usize = 1 << 20;

/// Body of [`begin`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Announcement {
    id: Option<String>,
    name: Option<String>,
    file_name: String,
    size_bytes: u64,
    sha256: Option<String>,
    licence: Option<String>,
}

/// `POST /api/v1/models/uploads`.
pub(crate) async fn begin(
    State(library): State<ModelLibrary>,
    Json(asked): Json<Announcement>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Announcement { id, name, file_name, size_bytes, sha256, licence } = asked;
    let wanted = Wanted { id, name, sha256, licence, ..Wanted::new(file_name, size_bytes) };
    let incoming = library.incoming.clone();
    let upload = off_thread(move || incoming.begin(&wanted).map_err(Failure::from)).await?;
    Ok((StatusCode::CREATED, Json(told(&upload))))
}

/// `GET /api/v1/models/uploads`.
pub(crate) async fn list(State(library): State<ModelLibrary>) -> Result<Json<Value>, Problem> {
    let incoming = library.incoming.clone();
    let uploads = off_thread(move || incoming.list().map_err(Failure::from)).await?;
    Ok(Json(json!({"uploads": uploads.iter().map(told).collect::<Vec<_>>()})))
}

/// `GET /api/v1/models/uploads/{upload}`.
pub(crate) async fn show(
    State(library): State<ModelLibrary>,
    Path(upload): Path<String>,
) -> Result<Json<Value>, Problem> {
    let incoming = library.incoming.clone();
    off_thread(move || incoming.get(&upload).map_err(Failure::from)).await.map(|upload| Json(told(&upload)))
}

/// Query of [`add`].
#[derive(Deserialize)]
pub(crate) struct From {
    offset: u64,
}

/// `PUT /api/v1/models/uploads/{upload}?offset=N`: the bytes from there on. What came before a cut stays.
pub(crate) async fn add(
    State(library): State<ModelLibrary>,
    Path(upload): Path<String>,
    Query(from): Query<From>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let incoming = library.incoming.clone();
    let begun = off_thread(move || incoming.write(&upload, from.offset).map_err(Failure::from)).await;
    let mut stream = body.into_data_stream();
    let mut writer = match begun {
        Ok(writer) => writer,
        Err(problem) => {
            // A client that still sends would not hear the answer: its connection would be cut first.
            while let Some(Ok(_)) = stream.next().await {}
            return Err(problem);
        }
    };
    let mut gathered = Vec::with_capacity(GATHER);
    let mut cut = None;
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(bytes) => gathered.extend_from_slice(&bytes),
            Err(error) => {
                cut = Some(error);
                break;
            }
        }
        if gathered.len() >= GATHER {
            writer = add_to(writer, std::mem::take(&mut gathered)).await?;
        }
    }
    let writer = add_to(writer, gathered).await?;
    let received = off_thread(move || writer.close().map_err(Failure::from)).await?;
    match cut {
        None => Ok(Json(json!({"received_bytes": received}))),
        Some(error) => {
            let detail = format!(
                "The body ended early ({error}); {received} bytes are there, go on from that offset."
            );
            Err(Problem::new(StatusCode::BAD_REQUEST, "cut", "The body ended early", detail)
                .with("received_bytes", received))
        }
    }
}

/// Adds bytes off the runtime's threads.
pub(super) async fn add_to(mut writer: Writer, bytes: Vec<u8>) -> Result<Writer, Problem> {
    off_thread(move || writer.add(&bytes).map(|()| writer).map_err(Failure::from)).await
}

/// `POST /api/v1/models/uploads/{upload}/finish`.
pub(crate) async fn finish(
    State(library): State<ModelLibrary>,
    Path(upload): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let incoming = library.incoming.clone();
    let model = off_thread(move || incoming.finish(&upload).map_err(Failure::from)).await?;
    tracing::info!(model = model.manifest.id, "added to the store");
    detectors::check(&library, &model).await?;
    Ok((StatusCode::CREATED, Json(manage::described(&library, &model).await)))
}

/// `DELETE /api/v1/models/uploads/{upload}`.
pub(crate) async fn abandon(
    State(library): State<ModelLibrary>,
    Path(upload): Path<String>,
) -> Result<StatusCode, Problem> {
    let incoming = library.incoming.clone();
    off_thread(move || incoming.abandon(&upload).map_err(Failure::from)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn told(upload: &Upload) -> Value {
    let mut told = json!(upload);
    told["chunk_bytes"] = (PIECE / 4).into();
    told
}
