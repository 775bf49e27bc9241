/*
 * slow_module: a PKCS#11 module that stands before another one and waits in each call, as a network HSM's calls wait on the wire.
 *
 * HSM_KMS_BENCH_MODULE names the real module, HSM_KMS_BENCH_WAIT_US how long a call waits (1000 microseconds by default). What waits is what
 * the service calls for each request; finding objects, sessions and log-in go straight through. Everything is passed on unchanged.
 *
 *   gcc -O2 -shared -fPIC -I/usr/include/p11-kit-1 -o slow_module.so slow_module.c -ldl
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST slowed;
static struct timespec wait_for;

static void wait_on_the_wire(void)
{
	struct timespec left = wait_for;

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

#define SLOW(name, parameters, arguments)                                                                                              \
	static CK_RV slow_##name parameters                                                                                            \
	{                                                                                                                              \
		wait_on_the_wire();                                                                                                    \
		return real->name arguments;                                                                                           \
	}

SLOW(C_CreateObject, (CK_SESSION_HANDLE s, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *o), (s, t, n, o))
SLOW(C_DestroyObject, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o), (s, o))
SLOW(C_GetAttributeValue, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n), (s, o, t, n))
SLOW(C_EncryptInit, (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k), (s, m, k))
SLOW(C_Encrypt, (CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *m), (s, in, n, out, m))
SLOW(C_DecryptInit, (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k), (s, m, k))
SLOW(C_Decrypt, (CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *m), (s, in, n, out, m))
SLOW(C_GenerateKey, (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *k), (s, m, t, n, k))
SLOW(C_WrapKey, (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE w, CK_OBJECT_HANDLE k, CK_BYTE *out, CK_ULONG *n),
     (s, m, w, k, out, n))
SLOW(C_UnwrapKey,
     (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE w, CK_BYTE *in, CK_ULONG n, CK_ATTRIBUTE *t, CK_ULONG c, CK_OBJECT_HANDLE *k),
     (s, m, w, in, n, t, c, k))
SLOW(C_DeriveKey, (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE b, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *k),
     (s, m, b, t, n, k))
SLOW(C_GenerateRandom, (CK_SESSION_HANDLE s, CK_BYTE *out, CK_ULONG n), (s, out, n))

static CK_RV load(void)
{
	const char *path = getenv("HSM_KMS_BENCH_MODULE"), *wait = getenv("HSM_KMS_BENCH_WAIT_US");
	long microseconds = wait == NULL ? 1000 : strtol(wait, NULL, 10);
	CK_RV (*get)(CK_FUNCTION_LIST **), code;
	void *library = path == NULL ? NULL : dlopen(path, RTLD_NOW);

	if (library == NULL) {
		fprintf(stderr, "slow_module: HSM_KMS_BENCH_MODULE: %s\n", path == NULL ? "not set" : dlerror());
		return CKR_GENERAL_ERROR;
	}
	*(void **)&get = dlsym(library, "C_GetFunctionList");
	code = get == NULL ? CKR_GENERAL_ERROR : get(&real);
	if (code != CKR_OK)
		return code;
	wait_for.tv_sec = microseconds / 1000000;
	wait_for.tv_nsec = microseconds % 1000000 * 1000;
	slowed = *real;
	slowed.C_CreateObject = slow_C_CreateObject;
	slowed.C_DestroyObject = slow_C_DestroyObject;
	slowed.C_GetAttributeValue = slow_C_GetAttributeValue;
	slowed.C_EncryptInit = slow_C_EncryptInit;
	slowed.C_Encrypt = slow_C_Encrypt;
	slowed.C_DecryptInit = slow_C_DecryptInit;
	slowed.C_Decrypt = slow_C_Decrypt;
	slowed.C_GenerateKey = slow_C_GenerateKey;
	slowed.C_WrapKey = slow_C_WrapKey;
	slowed.C_UnwrapKey = slow_C_UnwrapKey;
	slowed.C_DeriveKey = slow_C_DeriveKey;
	slowed.C_GenerateRandom = slow_C_GenerateRandom;
	return CKR_OK;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	CK_RV code = real == NULL ? load() : CKR_OK;

	if (code == CKR_OK)
		*list = &slowed;
	return code;
}
