/* MPI_T performance variables, from the transport's table of counters. All are bound to no object, continuous
 * and readonly. They are registered with the parameters, so ompi_info lists them. */
#include "mtl_efa.h"

#include "opal/mca/base/mca_base_pvar.h"

static const int classes[] = {
    [EFA_COUNT] = MCA_BASE_PVAR_CLASS_COUNTER,
    [EFA_SUM] = MCA_BASE_PVAR_CLASS_AGGREGATE,
    [EFA_LEVEL] = MCA_BASE_PVAR_CLASS_LEVEL,
    [EFA_MOST] = MCA_BASE_PVAR_CLASS_HIGHWATERMARK,
};

/* A tool may read from any thread, also while MPI_Finalize closes the transport. The lock covers `source`;
 * the transport's lock is taken while it is held. */
static opal_mutex_t lock = OPAL_MUTEX_STATIC_INIT;
static efa_transport *source;

void mtl_efa_performance_variables_of(efa_transport *transport)
{
    opal_mutex_lock(&lock);
    source = transport;
    opal_mutex_unlock(&lock);
}

/* 0 while no transport is open: another component carries the messages, or MPI is not initialized. */
static int get_value(const mca_base_pvar_t *pvar, void *value, void *object)
{
    const efa_counter_description *counter = pvar->ctx;
    efa_counters counters = {0};

    (void) object;
    opal_mutex_lock(&lock);
    if (NULL != source) {
        efa_counters_get(source, &counters);
    }
    opal_mutex_unlock(&lock);
    *(unsigned long long *) value =
        efa_counter_at(&counters, (unsigned) (counter - efa_counter_descriptions));
    return OPAL_SUCCESS;
}

void mtl_efa_register_performance_variables(void)
{
    for (int i = 0; i < EFA_COUNTERS; ++i) {
        const efa_counter_description *counter = &efa_counter_descriptions[i];
        char text[512];

        snprintf(text, sizeof text, "%s%s%s%s", counter->text, '\0' != *counter->unit ? " [" : "",
                 counter->unit, '\0' != *counter->unit ? "]" : "");
        (void) mca_base_component_pvar_register(
            &mca_mtl_efa_component.mtl_version, counter->name, text, OPAL_INFO_LVL_4, classes[counter->kind],
            MCA_BASE_VAR_TYPE_UNSIGNED_LONG_LONG, NULL, MCA_BASE_VAR_BIND_NO_OBJECT,
            MCA_BASE_PVAR_FLAG_READONLY | MCA_BASE_PVAR_FLAG_CONTINUOUS, get_value, NULL, NULL,
            (void *) counter);
    }
}
