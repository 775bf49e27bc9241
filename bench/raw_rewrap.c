/*
 * raw_rewrap: what one process gets out of a token, in C, with nothing around it. The service is measured against it.
 *
 *   raw_rewrap MODULE TOKEN_LABEL PIN_FILE SECONDS PAYLOAD_BYTES session|token
 *
 * The loop is the service's rewrap: derive, unwrap, derive, wrap, destroy three. `session` and `token` say what kind of object the two
 * backing keys are. The service keeps its own on the token; SoftHSM serves session objects faster (docs/performance.md).
 *
 * Prints `ready`, waits for a line of standard input, works for SECONDS, and prints one JSON object:
 * {"count": rewraps, "cpu_s": processor time, "wall_s": time}. Whatever fails ends it with a line on standard error and exit code 1.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <p11-kit/pkcs11.h>

#ifndef CKA_COPYABLE
#define CKA_COPYABLE 0x171UL /* PKCS#11 2.40; p11-kit's header has 2.20 */
#endif
#define KEY_BYTES 32UL
#define DIGEST_BYTES 32UL
#define MAX_PAYLOAD 4096UL
#define WRAP_ROOM 64UL
#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define MUST(call) must(#call, (call))

struct cbc_encrypt_data {
	CK_BYTE iv[16];
	CK_BYTE *data;
	CK_ULONG length;
};

static CK_FUNCTION_LIST *token;
static CK_SESSION_HANDLE session;

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS secret_key = CKO_SECRET_KEY;
static CK_KEY_TYPE aes = CKK_AES, generic = CKK_GENERIC_SECRET;
static CK_ULONG key_bytes = KEY_BYTES;
static CK_MECHANISM_TYPE derives_only = CKM_AES_CBC_ENCRYPT_DATA, wraps_only = CKM_AES_KEY_WRAP;
static CK_MECHANISM key_wrap = { CKM_AES_KEY_WRAP, NULL, 0 };

static void must(const char *call, CK_RV code)
{
	if (code == CKR_OK)
		return;
	fprintf(stderr, "raw_rewrap: %.60s: CKR 0x%lx\n", call, code);
	exit(1);
}

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "raw_rewrap: %s: %s\n", what, why);
	exit(1);
}

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

static void load(const char *path)
{
	CK_C_INITIALIZE_ARGS arguments = { .flags = CKF_OS_LOCKING_OK };
	CK_RV (*get)(CK_FUNCTION_LIST **);
	void *library = dlopen(path, RTLD_NOW);

	if (library == NULL)
		fail(path, dlerror());
	*(void **)&get = dlsym(library, "C_GetFunctionList");
	if (get == NULL)
		fail(path, "no PKCS#11 module");
	MUST(get(&token));
	MUST(token->C_Initialize(&arguments));
}

static CK_SLOT_ID find_slot(const char *label)
{
	CK_SLOT_ID slots[64], found = 0;
	CK_ULONG count = LENGTH(slots), matches = 0;
	char padded[33];

	snprintf(padded, sizeof padded, "%-32s", label);
	MUST(token->C_GetSlotList(CK_TRUE, slots, &count));
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info;

		MUST(token->C_GetTokenInfo(slots[i], &info));
		if (memcmp(info.label, padded, 32) == 0) {
			found = slots[i];
			matches++;
		}
	}
	if (matches != 1)
		fail(label, "not exactly one token has this label");
	return found;
}

static void log_in(CK_SLOT_ID slot, const char *pin_file)
{
	char pin[256];
	FILE *file = fopen(pin_file, "r");

	if (file == NULL || fgets(pin, sizeof pin, file) == NULL)
		fail(pin_file, strerror(errno));
	fclose(file);
	pin[strcspn(pin, "\r\n")] = '\0';
	MUST(token->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
	MUST(token->C_Login(session, CKU_USER, (CK_BYTE *)pin, strlen(pin)));
	memset(pin, 0, sizeof pin);
}

static CK_OBJECT_HANDLE make_backing_key(CK_BBOOL *on_token)
{
	CK_MECHANISM generation = { CKM_AES_KEY_GEN, NULL, 0 };
	CK_ATTRIBUTE template[] = {
		{ CKA_VALUE_LEN, &key_bytes, sizeof key_bytes },
		{ CKA_TOKEN, on_token, 1 },
		{ CKA_PRIVATE, &yes, 1 },
		{ CKA_DERIVE, &yes, 1 },
		{ CKA_SENSITIVE, &yes, 1 },
		{ CKA_EXTRACTABLE, &no, 1 },
		{ CKA_ALLOWED_MECHANISMS, &derives_only, sizeof derives_only },
		{ CKA_COPYABLE, &no, 1 },
		{ CKA_MODIFIABLE, &no, 1 }, /* last: SoftHSM refuses whatever follows it */
	};
	CK_OBJECT_HANDLE key;

	MUST(token->C_GenerateKey(session, &generation, template, LENGTH(template), &key));
	return key;
}

static CK_OBJECT_HANDLE derive(CK_OBJECT_HANDLE backing_key, CK_BYTE *digest, CK_ATTRIBUTE_TYPE use)
{
	struct cbc_encrypt_data parameters = { { 0 }, digest, DIGEST_BYTES };
	CK_MECHANISM derivation = { CKM_AES_CBC_ENCRYPT_DATA, &parameters, sizeof parameters };
	CK_ATTRIBUTE template[] = {
		{ CKA_CLASS, &secret_key, sizeof secret_key },
		{ CKA_KEY_TYPE, &aes, sizeof aes },
		{ CKA_VALUE_LEN, &key_bytes, sizeof key_bytes },
		{ CKA_TOKEN, &no, 1 },
		{ CKA_PRIVATE, &yes, 1 },
		{ use, &yes, 1 },
		{ CKA_SENSITIVE, &yes, 1 },
		{ CKA_EXTRACTABLE, &no, 1 },
		{ CKA_ALLOWED_MECHANISMS, &wraps_only, sizeof wraps_only },
		{ CKA_COPYABLE, &no, 1 },
		{ CKA_MODIFIABLE, &no, 1 },
	};
	CK_OBJECT_HANDLE key;

	MUST(token->C_DeriveKey(session, &derivation, backing_key, template, LENGTH(template), &key));
	return key;
}

static CK_ULONG wrap_new_payload(CK_OBJECT_HANDLE backing_key, CK_BYTE *digest, CK_ULONG size, CK_BYTE *wrapped)
{
	CK_BYTE value[MAX_PAYLOAD] = { 0 };
	CK_ATTRIBUTE template[] = {
		{ CKA_CLASS, &secret_key, sizeof secret_key },
		{ CKA_KEY_TYPE, &generic, sizeof generic },
		{ CKA_VALUE, value, size },
		{ CKA_TOKEN, &no, 1 },
		{ CKA_PRIVATE, &yes, 1 },
		{ CKA_SENSITIVE, &yes, 1 },
		{ CKA_EXTRACTABLE, &yes, 1 },
	};
	CK_OBJECT_HANDLE key = derive(backing_key, digest, CKA_WRAP), payload;
	CK_ULONG length = size + WRAP_ROOM;

	MUST(token->C_CreateObject(session, template, LENGTH(template), &payload));
	MUST(token->C_WrapKey(session, &key_wrap, key, payload, wrapped, &length));
	MUST(token->C_DestroyObject(session, payload));
	MUST(token->C_DestroyObject(session, key));
	return length;
}

static void rewrap(CK_OBJECT_HANDLE from, CK_BYTE *from_digest, CK_OBJECT_HANDLE to, CK_BYTE *to_digest,
		   CK_BYTE *wrapped, CK_ULONG length, CK_BYTE *out, CK_ULONG room)
{
	CK_ATTRIBUTE template[] = {
		{ CKA_CLASS, &secret_key, sizeof secret_key },
		{ CKA_KEY_TYPE, &generic, sizeof generic },
		{ CKA_TOKEN, &no, 1 },
		{ CKA_PRIVATE, &yes, 1 },
		{ CKA_SENSITIVE, &yes, 1 },
		{ CKA_EXTRACTABLE, &yes, 1 },
		{ CKA_COPYABLE, &no, 1 },
		{ CKA_MODIFIABLE, &no, 1 },
	};
	CK_OBJECT_HANDLE source, payload, target;

	source = derive(from, from_digest, CKA_UNWRAP);
	MUST(token->C_UnwrapKey(session, &key_wrap, source, wrapped, length, template, LENGTH(template), &payload));
	target = derive(to, to_digest, CKA_WRAP);
	MUST(token->C_WrapKey(session, &key_wrap, target, payload, out, &room));
	MUST(token->C_DestroyObject(session, source));
	MUST(token->C_DestroyObject(session, payload));
	MUST(token->C_DestroyObject(session, target));
}

int main(int argc, char **argv)
{
	if (argc != 7 || (strcmp(argv[6], "session") != 0 && strcmp(argv[6], "token") != 0)) {
		fprintf(stderr, "usage: raw_rewrap MODULE TOKEN_LABEL PIN_FILE SECONDS PAYLOAD_BYTES session|token\n");
		return 2;
	}
	double limit = strtod(argv[4], NULL);
	CK_ULONG size = strtoul(argv[5], NULL, 10), count = 0;
	CK_BBOOL *on_token = strcmp(argv[6], "token") == 0 ? &yes : &no;

	if (size == 0 || size % 8 || size > MAX_PAYLOAD || limit <= 0)
		fail("PAYLOAD_BYTES", "8 to 4096, in steps of 8; SECONDS more than 0");
	load(argv[1]);
	log_in(find_slot(argv[2]), argv[3]);

	CK_OBJECT_HANDLE from = make_backing_key(on_token), to = make_backing_key(on_token);
	CK_BYTE from_digest[DIGEST_BYTES] = { 1 }, to_digest[DIGEST_BYTES] = { 2 };
	CK_BYTE wrapped[MAX_PAYLOAD + WRAP_ROOM], out[MAX_PAYLOAD + WRAP_ROOM];
	CK_ULONG length = wrap_new_payload(from, from_digest, size, wrapped);

	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	double began = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall;
	do {
		memcpy(to_digest + 8, &count, sizeof count); /* as in the service, each has a new derivation */
		rewrap(from, from_digest, to, to_digest, wrapped, length, out, sizeof out);
		count++;
		wall = seconds(CLOCK_MONOTONIC) - began;
	} while (wall < limit);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("{\"count\": %lu, \"cpu_s\": %.6f, \"wall_s\": %.6f}\n", count, cpu, wall);

	MUST(token->C_DestroyObject(session, from));
	MUST(token->C_DestroyObject(session, to));
	MUST(token->C_Finalize(NULL));
	return 0;
}
