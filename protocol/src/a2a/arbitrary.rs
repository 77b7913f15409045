//! Any message, task, event, request and card, for the tests of translations. What cannot be told apart on every wire is not among them: an empty text
//! and an absent one, and numbers that a `double` does not hold.

use crate::a2a as v1;
use crate::time::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

pub(super) fn text() -> impl Strategy<Value = String> {
    "[a-z/ä:\\-\u{0}]{1,12}"
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), object_of(inner).prop_map(Value::from)]
    })
}

fn object_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = v1::Metadata> {
    vec((text(), inner), 0..4).prop_map(|fields| fields.into_iter().collect::<Map<_, _>>())
}

pub(super) fn metadata() -> impl Strategy<Value = v1::Metadata> {
    object_of(value())
}

fn part() -> impl Strategy<Value = v1::Part> {
    let words = text().prop_map(v1::Part::text);
    let data = value().prop_map(v1::Part::data);
    let content = prop_oneof![vec(any::<u8>(), 0..20).prop_map(v1::Content::Raw), text().prop_map(v1::Content::Url)];
    let file = (content, option::of(text()), option::of(text())).prop_map(|(content, filename, media_type)| v1::Part {
        filename,
        media_type,
        ..content.into()
    });
    (prop_oneof![words, data, file], metadata()).prop_map(|(part, metadata)| v1::Part { metadata, ..part })
}

pub(super) fn message() -> impl Strategy<Value = v1::Message> {
    let role = prop_oneof![Just(v1::Role::User), Just(v1::Role::Agent)];
    (text(), option::of(text()), option::of(text()), role, vec(part(), 0..4), metadata(), vec(text(), 0..3), vec(text(), 0..3)).prop_map(
        |(message_id, context_id, task_id, role, parts, metadata, extensions, reference_task_ids)| v1::Message {
            message_id,
            context_id,
            task_id,
            role,
            parts,
            metadata,
            extensions,
            reference_task_ids,
        },
    )
}

fn artifact() -> impl Strategy<Value = v1::Artifact> {
    (text(), option::of(text()), option::of(text()), vec(part(), 1..3), metadata(), vec(text(), 0..2)).prop_map(
        |(artifact_id, name, description, parts, metadata, extensions)| v1::Artifact {
            artifact_id,
            name,
            description,
            parts,
            metadata,
            extensions,
        },
    )
}

fn status() -> impl Strategy<Value = v1::TaskStatus> {
    let at = option::of((0_i64..4_000_000_000_000).prop_map(Timestamp));
    (proptest::sample::select(v1::State::ALL), option::of(message()), at).prop_map(|(state, message, timestamp)| v1::TaskStatus {
        state,
        message: message.map(Box::new),
        timestamp,
    })
}

pub(super) fn task() -> impl Strategy<Value = v1::Task> {
    (text(), text(), status(), option::of(vec(artifact(), 0..3)), vec(message(), 0..3), metadata()).prop_map(
        |(id, context_id, status, artifacts, history, metadata)| v1::Task { id, context_id, status, artifacts, history, metadata },
    )
}

pub(super) fn event() -> impl Strategy<Value = v1::StreamResponse> {
    let changed = (text(), text(), status(), metadata()).prop_map(|(task_id, context_id, status, metadata)| {
        v1::StreamResponse::StatusUpdate(v1::TaskStatusUpdateEvent { task_id, context_id, status, metadata })
    });
    let made = (text(), text(), artifact(), any::<bool>(), any::<bool>(), metadata()).prop_map(
        |(task_id, context_id, artifact, append, last_chunk, metadata)| {
            v1::StreamResponse::ArtifactUpdate(v1::TaskArtifactUpdateEvent { task_id, context_id, artifact, append, last_chunk, metadata })
        },
    );
    prop_oneof![changed, made, task().prop_map(v1::StreamResponse::Task), message().prop_map(v1::StreamResponse::Message)]
}

fn authentication() -> impl Strategy<Value = v1::AuthenticationInfo> {
    (text(), option::of(text())).prop_map(|(scheme, credentials)| v1::AuthenticationInfo { scheme, credentials })
}

pub(super) fn webhook() -> impl Strategy<Value = v1::TaskPushNotificationConfig> {
    (option::of(text()), text(), text(), text(), option::of(text()), option::of(authentication())).prop_map(
        |(tenant, id, task_id, url, token, authentication)| v1::TaskPushNotificationConfig {
            tenant,
            id,
            task_id,
            url,
            token,
            authentication,
        },
    )
}

fn configuration() -> impl Strategy<Value = v1::SendMessageConfiguration> {
    (vec(text(), 0..3), option::of(webhook()), option::of(any::<i32>()), any::<bool>()).prop_map(
        |(accepted_output_modes, task_push_notification_config, history_length, return_immediately)| v1::SendMessageConfiguration {
            accepted_output_modes,
            task_push_notification_config,
            history_length,
            return_immediately,
        },
    )
}

pub(super) fn send() -> impl Strategy<Value = v1::SendMessageRequest> {
    (option::of(text()), message(), option::of(configuration()), metadata())
        .prop_map(|(tenant, message, configuration, metadata)| v1::SendMessageRequest { tenant, message, configuration, metadata })
}

pub(super) fn list() -> impl Strategy<Value = v1::ListTasksRequest> {
    let texts = (option::of(text()), option::of(text()), option::of(text()));
    let numbers = (option::of(any::<i32>()), option::of(any::<i32>()), option::of((0_i64..4_000_000_000_000).prop_map(Timestamp)));
    (texts, proptest::sample::select(v1::State::ALL), numbers, any::<bool>()).prop_map(
        |((tenant, context_id, page_token), status, (page_size, history_length, status_timestamp_after), include_artifacts)| {
            v1::ListTasksRequest {
                tenant,
                context_id,
                status,
                page_size,
                page_token,
                history_length,
                status_timestamp_after,
                include_artifacts,
            }
        },
    )
}

pub(super) fn listed() -> impl Strategy<Value = v1::ListTasksResponse> {
    (vec(task(), 0..3), text(), 0..100_u32, 0..1_000_u32)
        .prop_map(|(tasks, next_page_token, page_size, total_size)| v1::ListTasksResponse { tasks, next_page_token, page_size, total_size })
}

fn requirement() -> impl Strategy<Value = v1::SecurityRequirement> {
    let scopes = vec(text(), 0..3).prop_map(|list| v1::StringList { list });
    btree_map(text(), scopes, 0..3).prop_map(|schemes| v1::SecurityRequirement { schemes })
}

fn scheme() -> impl Strategy<Value = v1::SecurityScheme> {
    let object = |value: Value| value.as_object().cloned().unwrap_or_default();
    let http = (text(), text(), text())
        .prop_map(|(description, scheme, bearer_format)| v1::SecurityScheme::Http(v1::HttpScheme { description, scheme, bearer_format }));
    let key = (text(), text(), text())
        .prop_map(|(description, location, name)| v1::SecurityScheme::ApiKey(v1::ApiKeyScheme { description, location, name }));
    let flow = prop_oneof![
        (text(), text()).prop_map(|(a, t)| json!({ "authorizationCode": { "authorizationUrl": a, "tokenUrl": t, "pkceRequired": true } })),
        (text(), btree_map(text(), text(), 1..3)).prop_map(|(t, s)| json!({ "clientCredentials": { "tokenUrl": t, "scopes": s } })),
        (text(), text()).prop_map(|(a, r)| json!({ "implicit": { "authorizationUrl": a, "refreshUrl": r } })),
        text().prop_map(|t| json!({ "password": { "tokenUrl": t } })),
        (text(), text()).prop_map(|(d, t)| json!({ "deviceCode": { "deviceAuthorizationUrl": d, "tokenUrl": t } })),
    ];
    let oauth2 = (flow, text())
        .prop_map(move |(flows, url)| v1::SecurityScheme::Oauth2(object(json!({ "flows": flows, "oauth2MetadataUrl": url }))));
    let open_id = text().prop_map(move |url| v1::SecurityScheme::OpenIdConnect(object(json!({ "openIdConnectUrl": url }))));
    let mtls = text().prop_map(move |text| v1::SecurityScheme::Mtls(object(json!({ "description": text }))));
    prop_oneof![http, key, oauth2, open_id, mtls]
}

fn skill() -> impl Strategy<Value = v1::AgentSkill> {
    (text(), text(), text(), vec(text(), 0..2), vec(text(), 0..2), vec(text(), 0..2), vec(text(), 0..2), vec(requirement(), 0..2)).prop_map(
        |(id, name, description, tags, examples, input_modes, output_modes, security_requirements)| v1::AgentSkill {
            id,
            name,
            description,
            tags,
            examples,
            input_modes,
            output_modes,
            security_requirements,
        },
    )
}

fn capabilities() -> impl Strategy<Value = v1::AgentCapabilities> {
    let extension = (text(), text(), any::<bool>(), metadata()).prop_map(|(uri, description, required, params)| v1::AgentExtension {
        uri,
        description,
        required,
        params,
    });
    let flag = || option::of(any::<bool>());
    (flag(), flag(), vec(extension, 0..2), flag()).prop_map(|(streaming, push_notifications, extensions, extended_agent_card)| {
        v1::AgentCapabilities { streaming, push_notifications, extensions, extended_agent_card }
    })
}

pub(super) fn card() -> impl Strategy<Value = v1::AgentCard> {
    let interface = (text(), text(), option::of(text()), text()).prop_map(|(url, protocol_binding, tenant, protocol_version)| {
        v1::AgentInterface { url, protocol_binding, tenant, protocol_version }
    });
    let provider = (text(), text()).prop_map(|(url, organization)| v1::AgentProvider { url, organization });
    let signature =
        (text(), text(), metadata()).prop_map(|(protected, signature, header)| v1::AgentCardSignature { protected, signature, header });
    let who = (text(), text(), text(), option::of(provider), option::of(text()), option::of(text()));
    let how = (vec(interface, 0..3), capabilities(), btree_map(text(), scheme(), 0..3), vec(requirement(), 0..2));
    let what = (vec(text(), 0..2), vec(text(), 0..2), vec(skill(), 0..2), vec(signature, 0..2));
    (who, how, what).prop_map(|(who, how, what)| {
        let (name, description, version, provider, documentation_url, icon_url) = who;
        let (supported_interfaces, capabilities, security_schemes, security_requirements) = how;
        let (default_input_modes, default_output_modes, skills, signatures) = what;
        v1::AgentCard {
            name,
            description,
            supported_interfaces,
            provider,
            version,
            documentation_url,
            capabilities,
            security_schemes,
            security_requirements,
            default_input_modes,
            default_output_modes,
            skills,
            signatures,
            icon_url,
        }
    })
}
