// AWS's SDK for JavaScript, unmodified: it knows the environment's variables and nothing else of the service.
//
//     node client.js steps [RSA_KEY_ID]    create keys, use them, read an error; RSA too where there is such a key
//     node client.js deny KEY_ID           be denied
//
// It prints one JSON document for each step, and ends with 1 at the first that fails.

import assert from "node:assert/strict";
import {
  CreateAliasCommand, CreateKeyCommand, DecryptCommand, DeleteAliasCommand, DescribeKeyCommand, EncryptCommand,
  GenerateDataKeyCommand, GenerateDataKeyWithoutPlaintextCommand, KMSClient, KMSServiceException, ListAliasesCommand,
  ListKeyRotationsCommand, ListResourceTagsCommand, NotFoundException, ReEncryptCommand, RotateKeyOnDemandCommand,
  TagResourceCommand, UntagResourceCommand, paginateListKeys,
} from "@aws-sdk/client-kms";

const LETTER = Buffer.from("Grüße, 世界");
const INTAKE = { tenant: "blue", purpose: "intake" };
const ARCHIVE = { purpose: "archive" };
const ALIAS = `alias/javascript-${process.pid}-${Date.now()}`;
const kms = new KMSClient();

async function step(name, action) {
  try {
    const what = await action();
    console.log(JSON.stringify({ step: name, ok: true, what }));
  } catch (error) {
    console.log(JSON.stringify({ step: name, ok: false, what: `${error.name}: ${error.message}` }));
    process.exit(1);
  }
}

const base64 = (bytes) => Buffer.from(bytes).toString("base64");

async function decrypted(blob, context, more = {}) {
  const { Plaintext } = await kms.send(new DecryptCommand({ CiphertextBlob: blob, EncryptionContext: context, ...more }));
  return Buffer.from(Plaintext);
}

async function steps(rsaKeyId) {
  let source, destination, sealed;

  await step("create", async () => {
    const tags = [{ TagKey: "team", TagValue: "blue" }];
    source = (await kms.send(new CreateKeyCommand({ Description: "source", Tags: tags }))).KeyMetadata.Arn;
    destination = (await kms.send(new CreateKeyCommand({ Description: "destination" }))).KeyMetadata.Arn;
    return `${source} ${destination}`;
  });
  await step("describe", async () => {
    const { KeyMetadata: key } = await kms.send(new DescribeKeyCommand({ KeyId: source }));
    assert.ok(Math.abs(Date.now() - key.CreationDate.getTime()) < 600_000, `made at ${key.CreationDate}`);
    return `${key.Description} ${key.KeyState} ${key.KeySpec} ${key.KeyUsage}`;
  });
  await step("encrypt", async () => {
    const request = { KeyId: source, Plaintext: LETTER, EncryptionContext: INTAKE };
    sealed = (await kms.send(new EncryptCommand(request))).CiphertextBlob;
    return base64(sealed);
  });
  await step("decrypt", async () => (await decrypted(sealed, INTAKE)).toString());
  await step("re-encrypt", async () => {
    const moved = await kms.send(new ReEncryptCommand({
      CiphertextBlob: sealed, SourceEncryptionContext: INTAKE,
      DestinationKeyId: destination, DestinationEncryptionContext: ARCHIVE,
    }));
    assert.equal(moved.SourceKeyId, source);
    assert.equal(moved.KeyId, destination);
    assert.deepEqual(await decrypted(moved.CiphertextBlob, ARCHIVE), LETTER);
    return base64(moved.CiphertextBlob);
  });
  await step("data key", async () => {
    const made = await kms.send(new GenerateDataKeyCommand({ KeyId: source, KeySpec: "AES_256" }));
    assert.deepEqual(await decrypted(made.CiphertextBlob), Buffer.from(made.Plaintext));
    return `${made.Plaintext.length}`;
  });
  await step("data key without plaintext", async () => {
    const made = await kms.send(new GenerateDataKeyWithoutPlaintextCommand({ KeyId: source, NumberOfBytes: 24 }));
    return `${(await decrypted(made.CiphertextBlob)).length}`;
  });
  await step("rotate", async () => {
    await kms.send(new RotateKeyOnDemandCommand({ KeyId: source }));
    const { Rotations } = await kms.send(new ListKeyRotationsCommand({ KeyId: source }));
    assert.deepEqual(await decrypted(sealed, INTAKE), LETTER);
    return Rotations.map((rotation) => rotation.RotationType).join(" ");
  });
  await step("newest material", async () => {
    const moved = await kms.send(new ReEncryptCommand({
      CiphertextBlob: sealed, SourceEncryptionContext: INTAKE,
      DestinationKeyId: source, DestinationEncryptionContext: INTAKE,
    }));
    assert.notEqual(moved.SourceKeyMaterialId, moved.DestinationKeyMaterialId);
    assert.deepEqual(await decrypted(moved.CiphertextBlob, INTAKE), LETTER);
    return moved.DestinationKeyMaterialId;
  });
  await step("alias", async () => {
    await kms.send(new CreateAliasCommand({ AliasName: ALIAS, TargetKeyId: destination }));
    const { KeyMetadata } = await kms.send(new DescribeKeyCommand({ KeyId: ALIAS }));
    assert.equal(KeyMetadata.Arn, destination);
    const { Aliases } = await kms.send(new ListAliasesCommand({ KeyId: destination }));
    assert.deepEqual(Aliases.map((alias) => alias.AliasName), [ALIAS]);
    await kms.send(new DeleteAliasCommand({ AliasName: ALIAS }));
    return (await kms.send(new ListAliasesCommand({ KeyId: destination }))).Aliases.length.toString();
  });
  await step("tags", async () => {
    await kms.send(new TagResourceCommand({ KeyId: source, Tags: [{ TagKey: "cost", TagValue: "" }] }));
    await kms.send(new UntagResourceCommand({ KeyId: source, TagKeys: ["team"] }));
    const { Tags } = await kms.send(new ListResourceTagsCommand({ KeyId: source }));
    return Tags.map((tag) => `${tag.TagKey}=${tag.TagValue}`).join(" ");
  });
  await step("list", async () => {
    const found = [];
    let pages = 0;
    for await (const page of paginateListKeys({ client: kms, pageSize: 1 }, {})) {
      pages += 1;
      found.push(...page.Keys.map((key) => key.KeyArn));
    }
    assert.ok(pages >= found.length && found.length >= 2, `${found.length} keys on ${pages} pages`);
    return [source, destination].filter((arn) => found.includes(arn)).join(" ");
  });
  await step("error", async () => {
    try {
      await kms.send(new DescribeKeyCommand({ KeyId: "alias/nobody-has-this" }));
    } catch (error) {
      assert.ok(error instanceof NotFoundException, `${error.name} is no NotFoundException`);
      return error.message;
    }
    throw new Error("there is such an alias");
  });
  if (rsaKeyId) {
    await step("RSA", async () => {
      const rsa = { EncryptionAlgorithm: "RSAES_OAEP_SHA_256", KeyId: rsaKeyId };
      const outside = (await kms.send(new EncryptCommand({ ...rsa, Plaintext: LETTER }))).CiphertextBlob;
      const inside = (await kms.send(new ReEncryptCommand({
        CiphertextBlob: outside, SourceKeyId: rsaKeyId, SourceEncryptionAlgorithm: "RSAES_OAEP_SHA_256",
        DestinationKeyId: destination, DestinationEncryptionContext: ARCHIVE,
      }))).CiphertextBlob;
      assert.deepEqual(await decrypted(inside, ARCHIVE), LETTER);
      const back = (await kms.send(new ReEncryptCommand({
        CiphertextBlob: inside, SourceEncryptionContext: ARCHIVE,
        DestinationKeyId: rsaKeyId, DestinationEncryptionAlgorithm: "RSAES_OAEP_SHA_256",
      }))).CiphertextBlob;
      return (await decrypted(back, undefined, rsa)).toString();
    });
  }
}

async function deny(keyId) {
  await step("deny", async () => {
    try {
      await kms.send(new EncryptCommand({ KeyId: keyId, Plaintext: LETTER }));
    } catch (error) {
      assert.ok(error instanceof KMSServiceException, `${error.name} is no KMSServiceException`);
      return `${error.name} ${error.message}`;
    }
    throw new Error("it was allowed");
  });
}

const [what, keyId] = process.argv.slice(2);
await (what === "deny" ? deny(keyId) : steps(keyId));
