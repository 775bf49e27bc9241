import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.protocols.jsoncore.JsonWriter;
import software.amazon.awssdk.services.kms.KmsClient;
import software.amazon.awssdk.services.kms.model.AliasListEntry;
import software.amazon.awssdk.services.kms.model.DataKeySpec;
import software.amazon.awssdk.services.kms.model.EncryptionAlgorithmSpec;
import software.amazon.awssdk.services.kms.model.KeyListEntry;
import software.amazon.awssdk.services.kms.model.KmsException;
import software.amazon.awssdk.services.kms.model.NotFoundException;
import software.amazon.awssdk.services.kms.model.Tag;

/**
 * The AWS SDK for Java, unmodified: it knows the environment's variables, Java's trust store, and nothing else of the service.
 *
 * <pre>
 * java Client steps [RSA_KEY_ID]    create keys, use them, read an error; RSA too where there is such a key
 * java Client deny KEY_ID           be denied
 * </pre>
 *
 * It prints one JSON document for each step, and ends with 1 at the first that fails.
 */
public final class Client {
    private static final SdkBytes LETTER = SdkBytes.fromUtf8String("Grüße, 世界");
    private static final Map<String, String> INTAKE = Map.of("tenant", "blue", "purpose", "intake");
    private static final Map<String, String> ARCHIVE = Map.of("purpose", "archive");
    private static final EncryptionAlgorithmSpec OAEP = EncryptionAlgorithmSpec.RSAES_OAEP_SHA_256;

    private final KmsClient kms;

    private Client(KmsClient kms) {
        this.kms = kms;
    }

    public static void main(String[] arguments) {
        try (KmsClient kms = KmsClient.create()) {
            Client client = new Client(kms);
            if (arguments[0].equals("deny")) {
                step("deny", () -> client.denied(arguments[1]));
            } else {
                client.steps(arguments.length > 1 ? arguments[1] : null);
            }
        }
    }

    private static String step(String name, Callable<String> action) {
        boolean ok = false;
        String what;
        try {
            what = action.call();
            ok = true;
        } catch (Exception failed) {
            what = failed.toString();
        }
        JsonWriter line = JsonWriter.create().writeStartObject();
        line.writeFieldName("step").writeValue(name).writeFieldName("ok").writeValue(ok);
        line.writeFieldName("what").writeValue(what).writeEndObject();
        System.out.writeBytes(line.getBytes());
        System.out.println();
        if (!ok) {
            System.exit(1);
        }
        return what;
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise);
        }
    }

    private static String base64(SdkBytes bytes) {
        return Base64.getEncoder().encodeToString(bytes.asByteArray());
    }

    private void steps(String rsaKeyId) {
        String[] keys = step("create", () -> create("source") + " " + create("destination")).split(" ");
        String source = keys[0];
        String destination = keys[1];
        step("describe", () -> described(source));
        String encoded = step("encrypt", () -> base64(kms.encrypt(
            request -> request.keyId(source).plaintext(LETTER).encryptionContext(INTAKE)).ciphertextBlob()));
        SdkBytes sealed = SdkBytes.fromByteArray(Base64.getDecoder().decode(encoded));
        step("decrypt", () -> decrypted(sealed, INTAKE).asUtf8String());
        step("re-encrypt", () -> reEncrypted(sealed, source, destination));
        step("data key", () -> dataKey(source));
        step("data key without plaintext", () -> {
            var made = kms.generateDataKeyWithoutPlaintext(request -> request.keyId(source).numberOfBytes(24));
            return "" + decrypted(made.ciphertextBlob(), Map.of()).asByteArray().length;
        });
        step("rotate", () -> {
            kms.rotateKeyOnDemand(request -> request.keyId(source));
            require(decrypted(sealed, INTAKE).equals(LETTER), "it opens to something else");
            return kms.listKeyRotations(request -> request.keyId(source)).rotations().stream()
                .map(rotation -> rotation.rotationTypeAsString()).collect(Collectors.joining(" "));
        });
        step("newest material", () -> newestMaterial(source, sealed));
        step("alias", () -> alias(destination));
        step("tags", () -> {
            kms.tagResource(request -> request.keyId(source).tags(tag -> tag.tagKey("cost").tagValue("")));
            kms.untagResource(request -> request.keyId(source).tagKeys("team"));
            return kms.listResourceTags(request -> request.keyId(source)).tags().stream()
                .map(tag -> tag.tagKey() + "=" + tag.tagValue()).collect(Collectors.joining(" "));
        });
        step("list", () -> listed(source, destination));
        step("error", () -> {
            try {
                kms.describeKey(request -> request.keyId("alias/nobody-has-this"));
            } catch (NotFoundException refused) {
                return refused.awsErrorDetails().errorMessage();
            }
            throw new IllegalStateException("there is such an alias");
        });
        if (rsaKeyId != null) {
            step("RSA", () -> rsa(rsaKeyId, destination));
        }
    }

    private String create(String description) {
        Tag tag = Tag.builder().tagKey("team").tagValue("blue").build();
        return kms.createKey(request -> request.description(description).tags(tag)).keyMetadata().arn();
    }

    private String described(String keyId) {
        var key = kms.describeKey(request -> request.keyId(keyId)).keyMetadata();
        Duration age = Duration.between(key.creationDate(), Instant.now()).abs();
        require(age.compareTo(Duration.ofMinutes(10)) < 0, "made at " + key.creationDate());
        return Stream.of(key.description(), key.keyState(), key.keySpec(), key.keyUsage())
            .map(Object::toString).collect(Collectors.joining(" "));
    }

    private SdkBytes decrypted(SdkBytes blob, Map<String, String> context) {
        return kms.decrypt(request -> request.ciphertextBlob(blob).encryptionContext(context)).plaintext();
    }

    private String reEncrypted(SdkBytes sealed, String source, String destination) {
        var moved = kms.reEncrypt(request -> request.ciphertextBlob(sealed).sourceEncryptionContext(INTAKE)
            .destinationKeyId(destination).destinationEncryptionContext(ARCHIVE));
        require(moved.sourceKeyId().equals(source), "from " + moved.sourceKeyId());
        require(moved.keyId().equals(destination), "to " + moved.keyId());
        require(decrypted(moved.ciphertextBlob(), ARCHIVE).equals(LETTER), "it opens to something else");
        return base64(moved.ciphertextBlob());
    }

    private String dataKey(String keyId) {
        var made = kms.generateDataKey(request -> request.keyId(keyId).keySpec(DataKeySpec.AES_256));
        require(decrypted(made.ciphertextBlob(), Map.of()).equals(made.plaintext()), "it opens to another key");
        return "" + made.plaintext().asByteArray().length;
    }

    private String newestMaterial(String keyId, SdkBytes sealed) {
        var moved = kms.reEncrypt(request -> request.ciphertextBlob(sealed).sourceEncryptionContext(INTAKE)
            .destinationKeyId(keyId).destinationEncryptionContext(INTAKE));
        String newest = moved.destinationKeyMaterialId();
        require(!newest.equals(moved.sourceKeyMaterialId()), "it is under the same material");
        require(decrypted(moved.ciphertextBlob(), INTAKE).equals(LETTER), "it opens to something else");
        return newest;
    }

    private String alias(String keyId) {
        String name = "alias/java-" + ProcessHandle.current().pid() + "-" + System.nanoTime();
        kms.createAlias(request -> request.aliasName(name).targetKeyId(keyId));
        String arn = kms.describeKey(request -> request.keyId(name)).keyMetadata().arn();
        require(arn.equals(keyId), "it is the name of " + arn);
        List<String> names = kms.listAliases(request -> request.keyId(keyId)).aliases().stream()
            .map(AliasListEntry::aliasName).toList();
        require(names.equals(List.of(name)), "its names are " + names);
        kms.deleteAlias(request -> request.aliasName(name));
        return "" + kms.listAliases(request -> request.keyId(keyId)).aliases().size();
    }

    private String listed(String source, String destination) {
        var pages = kms.listKeysPaginator(request -> request.limit(1));
        List<String> found = pages.keys().stream().map(KeyListEntry::keyArn).toList();
        long count = pages.stream().count();
        require(count >= found.size() && found.size() >= 2, found.size() + " keys on " + count + " pages");
        return Stream.of(source, destination).filter(found::contains).collect(Collectors.joining(" "));
    }

    private String rsa(String rsaKeyId, String keyId) {
        SdkBytes outside = kms.encrypt(
            request -> request.keyId(rsaKeyId).plaintext(LETTER).encryptionAlgorithm(OAEP)).ciphertextBlob();
        SdkBytes inside = kms.reEncrypt(request -> request.ciphertextBlob(outside)
            .sourceKeyId(rsaKeyId).sourceEncryptionAlgorithm(OAEP)
            .destinationKeyId(keyId).destinationEncryptionContext(ARCHIVE)).ciphertextBlob();
        require(decrypted(inside, ARCHIVE).equals(LETTER), "it opens to something else");
        SdkBytes back = kms.reEncrypt(request -> request.ciphertextBlob(inside).sourceEncryptionContext(ARCHIVE)
            .destinationKeyId(rsaKeyId).destinationEncryptionAlgorithm(OAEP)).ciphertextBlob();
        return kms.decrypt(request -> request.ciphertextBlob(back).keyId(rsaKeyId).encryptionAlgorithm(OAEP))
            .plaintext().asUtf8String();
    }

    private String denied(String keyId) {
        try {
            kms.encrypt(request -> request.keyId(keyId).plaintext(LETTER));
        } catch (KmsException refused) {
            return refused.awsErrorDetails().errorCode() + " " + refused.awsErrorDetails().errorMessage();
        }
        throw new IllegalStateException("it was allowed");
    }
}
