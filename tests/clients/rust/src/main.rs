//! The AWS SDK for Rust, unmodified: it knows the environment's variables and nothing else of the service.
//!
//!     client steps [RSA_KEY_ID]    create keys, use them, read an error; RSA too where there is such a key
//!     client deny KEY_ID           be denied
//!
//! It prints one JSON document for each step, and ends with 1 at the first that fails.

use std::collections::HashMap;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_kms::Client;
use aws_sdk_kms::config::BehaviorVersion;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, EncryptionAlgorithmSpec, KeyMetadata, Tag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

type Outcome = Result<String, Box<dyn Error>>;
type Context = HashMap<String, String>;

const LETTER: &str = "Grüße, 世界";
const OAEP: EncryptionAlgorithmSpec = EncryptionAlgorithmSpec::RsaesOaepSha256;

fn intake() -> Context {
    HashMap::from([("tenant".into(), "blue".into()), ("purpose".into(), "intake".into())])
}

fn archive() -> Context {
    HashMap::from([("purpose".into(), "archive".into())])
}

/// Print a step, and end the program if it failed.
fn step(name: &str, outcome: Outcome) -> String {
    let (ok, what) = match outcome {
        Ok(what) => (true, what),
        Err(error) => (false, DisplayErrorContext(&*error).to_string()),
    };
    println!("{}", serde_json::json!({"step": name, "ok": ok, "what": what}));
    if !ok {
        std::process::exit(1);
    }
    what
}

fn require(holds: bool, otherwise: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

async fn create(kms: &Client, description: &str) -> Outcome {
    let tag = Tag::builder().tag_key("team").tag_value("blue").build()?;
    let made = kms.create_key().description(description).tags(tag).send().await?;
    Ok(made.key_metadata().ok_or("no metadata")?.arn().ok_or("no ARN")?.to_string())
}

async fn describe(kms: &Client, key_id: &str) -> Result<KeyMetadata, Box<dyn Error>> {
    let described = kms.describe_key().key_id(key_id).send().await?;
    Ok(described.key_metadata.ok_or("no metadata")?)
}

async fn described(kms: &Client, key_id: &str) -> Outcome {
    let key = describe(kms, key_id).await?;
    let made = key.creation_date().ok_or("no date")?.secs();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    require((now - made).abs() < 600, "made at another time")?;
    let state = key.key_state().ok_or("no state")?;
    let spec = key.key_spec().ok_or("no spec")?;
    let usage = key.key_usage().ok_or("no usage")?;
    Ok(format!("{} {state} {spec} {usage}", key.description().unwrap_or("")))
}

async fn encrypt(kms: &Client, key_id: &str) -> Result<Blob, Box<dyn Error>> {
    let request = kms.encrypt().key_id(key_id).plaintext(Blob::new(LETTER));
    let sealed = request.set_encryption_context(Some(intake())).send().await?;
    Ok(sealed.ciphertext_blob.ok_or("no ciphertext")?)
}

async fn decrypt(kms: &Client, blob: &Blob, context: Option<Context>) -> Result<Vec<u8>, Box<dyn Error>> {
    let opened = kms.decrypt().ciphertext_blob(blob.clone()).set_encryption_context(context).send().await?;
    Ok(opened.plaintext.ok_or("no plaintext")?.into_inner())
}

async fn re_encrypt(kms: &Client, sealed: &Blob, source: &str, destination: &str) -> Outcome {
    let moved = kms
        .re_encrypt()
        .ciphertext_blob(sealed.clone())
        .set_source_encryption_context(Some(intake()))
        .destination_key_id(destination)
        .set_destination_encryption_context(Some(archive()))
        .send()
        .await?;
    require(moved.source_key_id() == Some(source), "from another key")?;
    require(moved.key_id() == Some(destination), "to another key")?;
    let blob = moved.ciphertext_blob.ok_or("no ciphertext")?;
    require(decrypt(kms, &blob, Some(archive())).await? == LETTER.as_bytes(), "it opens to something else")?;
    Ok(STANDARD.encode(blob))
}

async fn data_key(kms: &Client, key_id: &str) -> Outcome {
    let made = kms.generate_data_key().key_id(key_id).key_spec(DataKeySpec::Aes256).send().await?;
    let plaintext = made.plaintext.ok_or("no plaintext")?.into_inner();
    let opened = decrypt(kms, &made.ciphertext_blob.ok_or("no ciphertext")?, None).await?;
    require(opened == plaintext, "it opens to another key")?;
    Ok(plaintext.len().to_string())
}

async fn data_key_without_plaintext(kms: &Client, key_id: &str) -> Outcome {
    let made = kms.generate_data_key_without_plaintext().key_id(key_id).number_of_bytes(24).send().await?;
    Ok(decrypt(kms, &made.ciphertext_blob.ok_or("no ciphertext")?, None).await?.len().to_string())
}

async fn rotate(kms: &Client, key_id: &str, sealed: &Blob) -> Outcome {
    kms.rotate_key_on_demand().key_id(key_id).send().await?;
    let listed = kms.list_key_rotations().key_id(key_id).send().await?;
    require(decrypt(kms, sealed, Some(intake())).await? == LETTER.as_bytes(), "it opens to something else")?;
    let kinds: Vec<_> = listed.rotations().iter().filter_map(|rotation| rotation.rotation_type()).collect();
    Ok(kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

async fn newest_material(kms: &Client, key_id: &str, sealed: &Blob) -> Outcome {
    let moved = kms
        .re_encrypt()
        .ciphertext_blob(sealed.clone())
        .set_source_encryption_context(Some(intake()))
        .destination_key_id(key_id)
        .set_destination_encryption_context(Some(intake()))
        .send()
        .await?;
    let newest = moved.destination_key_material_id.ok_or("no material")?;
    require(moved.source_key_material_id.as_ref() != Some(&newest), "it is under the same material")?;
    let opened = decrypt(kms, &moved.ciphertext_blob.ok_or("no ciphertext")?, Some(intake())).await?;
    require(opened == LETTER.as_bytes(), "it opens to something else")?;
    Ok(newest)
}

async fn alias(kms: &Client, key_id: &str) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let name = format!("alias/rust-{}-{now}", std::process::id());
    kms.create_alias().alias_name(&name).target_key_id(key_id).send().await?;
    require(describe(kms, &name).await?.arn() == Some(key_id), "it is another key's name")?;
    let listed = kms.list_aliases().key_id(key_id).send().await?;
    let names: Vec<_> = listed.aliases().iter().filter_map(|entry| entry.alias_name()).collect();
    require(names == [name.as_str()], "it is not in the list")?;
    kms.delete_alias().alias_name(&name).send().await?;
    Ok(kms.list_aliases().key_id(key_id).send().await?.aliases().len().to_string())
}

async fn tags(kms: &Client, key_id: &str) -> Outcome {
    let tag = Tag::builder().tag_key("cost").tag_value("").build()?;
    kms.tag_resource().key_id(key_id).tags(tag).send().await?;
    kms.untag_resource().key_id(key_id).tag_keys("team").send().await?;
    let listed = kms.list_resource_tags().key_id(key_id).send().await?;
    let pairs: Vec<_> = listed.tags().iter().map(|tag| format!("{}={}", tag.tag_key(), tag.tag_value())).collect();
    Ok(pairs.join(" "))
}

async fn list(kms: &Client, keys: [&str; 2]) -> Outcome {
    let mut pages = 0;
    let mut found = Vec::new();
    let mut paginator = kms.list_keys().into_paginator().page_size(1).send();
    while let Some(page) = paginator.try_next().await? {
        pages += 1;
        found.extend(page.keys().iter().filter_map(|key| key.key_arn().map(String::from)));
    }
    require(pages >= found.len() && found.len() >= 2, "the pages are too long")?;
    Ok(keys.iter().filter(|arn| found.iter().any(|other| other == *arn)).copied().collect::<Vec<_>>().join(" "))
}

async fn error(kms: &Client) -> Outcome {
    let Err(failed) = kms.describe_key().key_id("alias/nobody-has-this").send().await else {
        return Err("there is such an alias".into());
    };
    let refused = failed.into_service_error();
    require(refused.is_not_found_exception(), "no NotFoundException")?;
    Ok(refused.message().unwrap_or("").to_string())
}

async fn rsa(kms: &Client, rsa_key_id: &str, key_id: &str) -> Outcome {
    let request = kms.encrypt().key_id(rsa_key_id).plaintext(Blob::new(LETTER));
    let outside = request.encryption_algorithm(OAEP).send().await?.ciphertext_blob.ok_or("no ciphertext")?;
    let inside = kms
        .re_encrypt()
        .ciphertext_blob(outside)
        .source_key_id(rsa_key_id)
        .source_encryption_algorithm(OAEP)
        .destination_key_id(key_id)
        .set_destination_encryption_context(Some(archive()))
        .send()
        .await?
        .ciphertext_blob
        .ok_or("no ciphertext")?;
    require(decrypt(kms, &inside, Some(archive())).await? == LETTER.as_bytes(), "it opens to something else")?;
    let back = kms
        .re_encrypt()
        .ciphertext_blob(inside)
        .set_source_encryption_context(Some(archive()))
        .destination_key_id(rsa_key_id)
        .destination_encryption_algorithm(OAEP)
        .send()
        .await?
        .ciphertext_blob
        .ok_or("no ciphertext")?;
    let opened = kms.decrypt().ciphertext_blob(back).key_id(rsa_key_id).encryption_algorithm(OAEP).send().await?;
    Ok(String::from_utf8(opened.plaintext.ok_or("no plaintext")?.into_inner())?)
}

async fn denied(kms: &Client, key_id: &str) -> Outcome {
    let Err(failed) = kms.encrypt().key_id(key_id).plaintext(Blob::new(LETTER)).send().await else {
        return Err("it was allowed".into());
    };
    let refused = failed.into_service_error();
    Ok(format!("{} {}", refused.code().unwrap_or("no code:"), refused.message().unwrap_or("")))
}

async fn steps(kms: &Client, rsa_key_id: Option<&str>) -> Result<(), Box<dyn Error>> {
    let source = create(kms, "source").await;
    let destination = create(kms, "destination").await;
    let both = step("create", source.and_then(|source| Ok(format!("{source} {}", destination?))));
    let (source, destination) = both.split_once(' ').ok_or("two ARNs")?;
    step("describe", described(kms, source).await);
    let mut sealed = Blob::new([]);
    step(
        "encrypt",
        encrypt(kms, source).await.map(|blob| {
            sealed = blob;
            STANDARD.encode(&sealed)
        }),
    );
    let opened = decrypt(kms, &sealed, Some(intake())).await;
    step("decrypt", opened.and_then(|bytes| Ok(String::from_utf8(bytes)?)));
    step("re-encrypt", re_encrypt(kms, &sealed, source, destination).await);
    step("data key", data_key(kms, source).await);
    step("data key without plaintext", data_key_without_plaintext(kms, source).await);
    step("rotate", rotate(kms, source, &sealed).await);
    step("newest material", newest_material(kms, source, &sealed).await);
    step("alias", alias(kms, destination).await);
    step("tags", tags(kms, source).await);
    step("list", list(kms, [source, destination]).await);
    step("error", error(kms).await);
    if let Some(rsa_key_id) = rsa_key_id {
        step("RSA", rsa(kms, rsa_key_id, destination).await);
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let kms = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["deny", key_id] => drop(step("deny", denied(&kms, key_id).await)),
        ["steps"] => steps(&kms, None).await?,
        ["steps", rsa_key_id] => steps(&kms, Some(rsa_key_id)).await?,
        _ => return Err("usage: client steps [RSA_KEY_ID] | deny KEY_ID".into()),
    }
    Ok(())
}
