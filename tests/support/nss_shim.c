/*
 * A PKCS#11 module that is NSS softokn with its parameters: what a program that calls C_Initialize(NULL) cannot give it.
 *
 * softokn takes the place of its database from LibraryParameters, NSS's own member of CK_C_INITIALIZE_ARGS. This module hands out
 * softokn's functions as they are, but for C_Initialize, which adds that member from an environment variable:
 *
 *   NSS_SHIM_PARAMETERS  for example: configdir='sql:/somewhere' certPrefix='' keyPrefix='' secmod='' flags=
 *   NSS_SHIM_MODULE      softokn's file, by default libsoftokn3.so as the dynamic linker finds it
 *
 * Build: gcc -shared -fPIC -O2 -Wall -Wextra -Werror -o nss_shim.so nss_shim.c -ldl
 */
#include <dlfcn.h>
#include <stdlib.h>

typedef unsigned long CK_RV;
enum {
    CKR_OK = 0x00,
    CKR_GENERAL_ERROR = 0x05,
    CKR_ARGUMENTS_BAD = 0x07,
    CKF_OS_LOCKING_OK = 0x02,
    OTHERS = 67, /* functions of PKCS#11 2.40 after C_Initialize, which is the first */
};

/* CK_FUNCTION_LIST: the version, and the functions in the standard's order. */
struct function_list {
    unsigned char version[2];
    CK_RV (*initialize)(void *);
    void (*others[OTHERS])(void);
};

/* CK_C_INITIALIZE_ARGS as NSS has it (lib/util/pkcs11t.h). */
struct initialize_args {
    void *mutexes[4];
    unsigned long flags;
    const char *library_parameters;
    void *reserved;
};

static struct function_list list;
static CK_RV (*softokn_initialize)(void *);

static CK_RV initialize(void *unused)
{
    struct initialize_args args = {.flags = CKF_OS_LOCKING_OK, .library_parameters = getenv("NSS_SHIM_PARAMETERS")};

    (void)unused;
    return args.library_parameters == NULL ? CKR_ARGUMENTS_BAD : softokn_initialize(&args);
}

CK_RV C_GetFunctionList(struct function_list **result)
{
    static int loaded;

    if (result == NULL)
        return CKR_ARGUMENTS_BAD;
    if (!loaded) {
        const char *path = getenv("NSS_SHIM_MODULE");
        void *module = dlopen(path == NULL ? "libsoftokn3.so" : path, RTLD_NOW | RTLD_LOCAL);
        CK_RV (*get)(struct function_list **);
        struct function_list *softokn;

        if (module == NULL)
            return CKR_GENERAL_ERROR;
        *(void **)&get = dlsym(module, "C_GetFunctionList");
        if (get == NULL || get(&softokn) != CKR_OK)
            return CKR_GENERAL_ERROR;
        list = *softokn;
        softokn_initialize = softokn->initialize;
        list.initialize = initialize;
        loaded = 1;
    }
    *result = &list;
    return CKR_OK;
}
