/* MCA parameters, from the transport's table of options. */
#include "mtl_efa.h"

#include <stdio.h>
#include <string.h>

#include "ompi/mca/mtl/base/base.h"
#include "opal/mca/base/mca_base_var.h"

efa_options mtl_efa_options;

static void add(const char *name, const char *text, mca_base_var_type_t type, int level, void *value)
{
    (void) mca_base_component_var_register(&mca_mtl_efa_component.mtl_version, name, text, type, NULL, 0, 0,
                                           (mca_base_var_info_lvl_t) (level - 1), MCA_BASE_VAR_SCOPE_READONLY,
                                           value);
}

int mtl_efa_register_parameters(void)
{
    char text[512];

    efa_options_defaults(&mtl_efa_options);
#define NUMBER(name, standard, least, greatest, unit, level, help)                                    \
    snprintf(text, sizeof text, "%s [%s%s%ld to %ld]", help, unit, *unit ? ", " : "", (long) (least), \
             (long) (greatest));                                                                      \
    add(#name, text, MCA_BASE_VAR_TYPE_LONG, level, &mtl_efa_options.name);
#define SWITCH(name, standard, level, help) \
    add(#name, help, MCA_BASE_VAR_TYPE_BOOL, level, &mtl_efa_options.name);
#define TEXT(name, form, level, help) \
    add(#name, help, MCA_BASE_VAR_TYPE_STRING, level, &mtl_efa_options.name);
    EFA_OPTION_TABLE(NUMBER, SWITCH, TEXT)
#undef NUMBER
#undef SWITCH
#undef TEXT
    return OMPI_SUCCESS;
}

bool mtl_efa_named_by_user(void)
{
    const char *wanted = ompi_mtl_base_framework.framework_selection;
    const char *own = mca_mtl_efa_component.mtl_version.mca_component_name;
    const size_t length = strlen(own);

    if (NULL == wanted || '^' == *wanted) {
        return false;
    }
    for (const char *name = wanted; NULL != name; name = strchr(name, ',')) {
        name += ',' == *name;
        if (0 == strncmp(name, own, length) && ('\0' == name[length] || ',' == name[length])) {
            return true;
        }
    }
    return false;
}
