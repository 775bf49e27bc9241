// The AWS SDK for Go, unmodified: it knows the environment's variables and nothing else of the service.
//
//	client steps [RSA_KEY_ID]    create keys, use them, read an error; RSA too where there is such a key
//	client deny KEY_ID           be denied
//
// It prints one JSON document for each step, and ends with 1 at the first that fails.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

const oaep = types.EncryptionAlgorithmSpecRsaesOaepSha256

var (
	letter  = []byte("Grüße, 世界")
	intake  = map[string]string{"tenant": "blue", "purpose": "intake"}
	archive = map[string]string{"purpose": "archive"}
)

type client struct {
	*kms.Client
	ctx context.Context
}

func step(name string, action func() (string, error)) {
	what, err := action()
	if err != nil {
		what = err.Error()
	}
	line, _ := json.Marshal(map[string]any{"step": name, "ok": err == nil, "what": what})
	fmt.Println(string(line))
	if err != nil {
		os.Exit(1)
	}
}

func (c client) create(input *kms.CreateKeyInput) (string, error) {
	made, err := c.CreateKey(c.ctx, input)
	if err != nil {
		return "", err
	}
	return *made.KeyMetadata.Arn, nil
}

func (c client) decrypted(input *kms.DecryptInput) ([]byte, error) {
	opened, err := c.Decrypt(c.ctx, input)
	if err != nil {
		return nil, err
	}
	return opened.Plaintext, nil
}

// opens fails unless a ciphertext is the letter.
func (c client) opens(blob []byte, context map[string]string) error {
	opened, err := c.decrypted(&kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
	if err == nil && !bytes.Equal(opened, letter) {
		err = fmt.Errorf("it opens to %q", opened)
	}
	return err
}

func (c client) steps(rsaKeyID string) {
	var source, destination string
	var sealed []byte

	step("create", func() (what string, err error) {
		tags := []types.Tag{{TagKey: aws.String("team"), TagValue: aws.String("blue")}}
		if source, err = c.create(&kms.CreateKeyInput{Description: aws.String("source"), Tags: tags}); err != nil {
			return "", err
		}
		destination, err = c.create(&kms.CreateKeyInput{Description: aws.String("destination")})
		return source + " " + destination, err
	})
	step("describe", func() (string, error) {
		described, err := c.DescribeKey(c.ctx, &kms.DescribeKeyInput{KeyId: &source})
		if err != nil {
			return "", err
		}
		key := described.KeyMetadata
		if time.Since(*key.CreationDate).Abs() > 10*time.Minute {
			return "", fmt.Errorf("made at %v", key.CreationDate)
		}
		return fmt.Sprintf("%s %s %s %s", *key.Description, key.KeyState, key.KeySpec, key.KeyUsage), nil
	})
	step("encrypt", func() (string, error) {
		made, err := c.Encrypt(c.ctx, &kms.EncryptInput{KeyId: &source, Plaintext: letter, EncryptionContext: intake})
		if err != nil {
			return "", err
		}
		sealed = made.CiphertextBlob
		return base64.StdEncoding.EncodeToString(sealed), nil
	})
	step("decrypt", func() (string, error) {
		opened, err := c.decrypted(&kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: intake})
		return string(opened), err
	})
	step("re-encrypt", func() (string, error) {
		moved, err := c.ReEncrypt(c.ctx, &kms.ReEncryptInput{
			CiphertextBlob: sealed, SourceEncryptionContext: intake,
			DestinationKeyId: &destination, DestinationEncryptionContext: archive,
		})
		if err != nil {
			return "", err
		}
		if *moved.SourceKeyId != source || *moved.KeyId != destination {
			return "", fmt.Errorf("from %s to %s", *moved.SourceKeyId, *moved.KeyId)
		}
		return base64.StdEncoding.EncodeToString(moved.CiphertextBlob), c.opens(moved.CiphertextBlob, archive)
	})
	step("data key", func() (string, error) {
		made, err := c.GenerateDataKey(c.ctx, &kms.GenerateDataKeyInput{KeyId: &source, KeySpec: types.DataKeySpecAes256})
		if err != nil {
			return "", err
		}
		opened, err := c.decrypted(&kms.DecryptInput{CiphertextBlob: made.CiphertextBlob})
		if err == nil && !bytes.Equal(opened, made.Plaintext) {
			err = errors.New("it opens to another key")
		}
		return fmt.Sprint(len(made.Plaintext)), err
	})
	step("data key without plaintext", func() (string, error) {
		input := &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &source, NumberOfBytes: aws.Int32(24)}
		made, err := c.GenerateDataKeyWithoutPlaintext(c.ctx, input)
		if err != nil {
			return "", err
		}
		opened, err := c.decrypted(&kms.DecryptInput{CiphertextBlob: made.CiphertextBlob})
		return fmt.Sprint(len(opened)), err
	})
	step("rotate", func() (string, error) {
		if _, err := c.RotateKeyOnDemand(c.ctx, &kms.RotateKeyOnDemandInput{KeyId: &source}); err != nil {
			return "", err
		}
		listed, err := c.ListKeyRotations(c.ctx, &kms.ListKeyRotationsInput{KeyId: &source})
		if err != nil {
			return "", err
		}
		var kinds []string
		for _, rotation := range listed.Rotations {
			kinds = append(kinds, string(rotation.RotationType))
		}
		return strings.Join(kinds, " "), c.opens(sealed, intake)
	})
	step("newest material", func() (string, error) {
		moved, err := c.ReEncrypt(c.ctx, &kms.ReEncryptInput{
			CiphertextBlob: sealed, SourceEncryptionContext: intake,
			DestinationKeyId: &source, DestinationEncryptionContext: intake,
		})
		if err != nil {
			return "", err
		}
		if *moved.SourceKeyMaterialId == *moved.DestinationKeyMaterialId {
			return "", errors.New("it is under the same material")
		}
		return *moved.DestinationKeyMaterialId, c.opens(moved.CiphertextBlob, intake)
	})
	step("alias", func() (string, error) { return c.alias(destination) })
	step("tags", func() (string, error) {
		tags := []types.Tag{{TagKey: aws.String("cost"), TagValue: aws.String("")}}
		if _, err := c.TagResource(c.ctx, &kms.TagResourceInput{KeyId: &source, Tags: tags}); err != nil {
			return "", err
		}
		untag := &kms.UntagResourceInput{KeyId: &source, TagKeys: []string{"team"}}
		if _, err := c.UntagResource(c.ctx, untag); err != nil {
			return "", err
		}
		listed, err := c.ListResourceTags(c.ctx, &kms.ListResourceTagsInput{KeyId: &source})
		if err != nil {
			return "", err
		}
		var pairs []string
		for _, tag := range listed.Tags {
			pairs = append(pairs, *tag.TagKey+"="+*tag.TagValue)
		}
		return strings.Join(pairs, " "), nil
	})
	step("list", func() (string, error) {
		var found []string
		pages := 0
		paginator := kms.NewListKeysPaginator(c, &kms.ListKeysInput{Limit: aws.Int32(1)})
		for paginator.HasMorePages() {
			page, err := paginator.NextPage(c.ctx)
			if err != nil {
				return "", err
			}
			pages++
			for _, key := range page.Keys {
				found = append(found, *key.KeyArn)
			}
		}
		if pages < len(found) || len(found) < 2 {
			return "", fmt.Errorf("%d keys on %d pages", len(found), pages)
		}
		ours := slices.DeleteFunc([]string{source, destination}, func(arn string) bool { return !slices.Contains(found, arn) })
		return strings.Join(ours, " "), nil
	})
	step("error", func() (string, error) {
		_, err := c.DescribeKey(c.ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/nobody-has-this")})
		var notFound *types.NotFoundException
		if !errors.As(err, &notFound) {
			return "", fmt.Errorf("no NotFoundException: %w", err)
		}
		return notFound.ErrorMessage(), nil
	})
	if rsaKeyID != "" {
		step("RSA", func() (string, error) { return c.rsa(rsaKeyID, destination) })
	}
}

func (c client) alias(keyID string) (string, error) {
	name := fmt.Sprintf("alias/go-%d-%d", os.Getpid(), time.Now().UnixNano())
	if _, err := c.CreateAlias(c.ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &keyID}); err != nil {
		return "", err
	}
	described, err := c.DescribeKey(c.ctx, &kms.DescribeKeyInput{KeyId: &name})
	if err != nil {
		return "", err
	}
	listed, err := c.ListAliases(c.ctx, &kms.ListAliasesInput{KeyId: &keyID})
	if err != nil {
		return "", err
	}
	if *described.KeyMetadata.Arn != keyID || len(listed.Aliases) != 1 || *listed.Aliases[0].AliasName != name {
		return "", fmt.Errorf("%s is the name of %s", name, *described.KeyMetadata.Arn)
	}
	if _, err := c.DeleteAlias(c.ctx, &kms.DeleteAliasInput{AliasName: &name}); err != nil {
		return "", err
	}
	listed, err = c.ListAliases(c.ctx, &kms.ListAliasesInput{KeyId: &keyID})
	if err != nil {
		return "", err
	}
	return fmt.Sprint(len(listed.Aliases)), nil
}

func (c client) rsa(rsaKeyID, keyID string) (string, error) {
	outside, err := c.Encrypt(c.ctx, &kms.EncryptInput{KeyId: &rsaKeyID, Plaintext: letter, EncryptionAlgorithm: oaep})
	if err != nil {
		return "", err
	}
	inside, err := c.ReEncrypt(c.ctx, &kms.ReEncryptInput{
		CiphertextBlob: outside.CiphertextBlob, SourceKeyId: &rsaKeyID, SourceEncryptionAlgorithm: oaep,
		DestinationKeyId: &keyID, DestinationEncryptionContext: archive,
	})
	if err != nil {
		return "", err
	}
	if err := c.opens(inside.CiphertextBlob, archive); err != nil {
		return "", err
	}
	back, err := c.ReEncrypt(c.ctx, &kms.ReEncryptInput{
		CiphertextBlob: inside.CiphertextBlob, SourceEncryptionContext: archive,
		DestinationKeyId: &rsaKeyID, DestinationEncryptionAlgorithm: oaep,
	})
	if err != nil {
		return "", err
	}
	opened, err := c.decrypted(&kms.DecryptInput{
		CiphertextBlob: back.CiphertextBlob, KeyId: &rsaKeyID, EncryptionAlgorithm: oaep,
	})
	return string(opened), err
}

func (c client) deny(keyID string) {
	step("deny", func() (string, error) {
		_, err := c.Encrypt(c.ctx, &kms.EncryptInput{KeyId: &keyID, Plaintext: letter})
		var refused smithy.APIError
		if !errors.As(err, &refused) {
			return "", fmt.Errorf("not refused by the service: %w", err)
		}
		return refused.ErrorCode() + " " + refused.ErrorMessage(), nil
	})
}

func main() {
	ctx := context.Background()
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c := client{kms.NewFromConfig(settings), ctx}
	arguments := append(os.Args[1:], "", "")
	if arguments[0] == "deny" {
		c.deny(arguments[1])
	} else {
		c.steps(arguments[1])
	}
}
