/* Persistent buffered sends (MPI_Bsend_init): what pml/cm gets wrong when one is started again.
 *
 * At MPI_Start pml/cm packs the user's data into the attached buffer, describes that copy by the request's
 * convertor and calls the MTL. Up to Open MPI 5.0.10 nothing turns the convertor back, so that the next
 * MPI_Start packs from where the first copy was: memory of the attached buffer that is free by then, or even
 * detached. And if its MTL part has not ended, pml/cm makes a new request from a length in bytes where it
 * means elements. So here the MTL part ends within MPI_Start, with a copy that lives as long as the send, and
 * the convertor is made to describe the user's data again. */
#include "mtl_efa.h"

#include <string.h>

#include "ompi/datatype/ompi_datatype.h"

/* pml/cm's request of a send that can be started again (mca_pml_cm_hvy_send_request_t in 4.1 and 5.0; its
 * header is not installed). */
typedef struct cm_request {
    ompi_request_t ompi;
    volatile int32_t pml_complete;
    volatile int32_t free_called;
    int type; /* an enum there */
    ompi_communicator_t *comm;
    ompi_datatype_t *datatype;
    opal_convertor_t convertor;
} cm_request;

typedef struct cm_send_request {
    struct {
        cm_request base;
        mca_pml_base_send_mode_t mode;
    } send;
    const void *address; /* the user's */
    size_t length;       /* packed, in bytes */
    int32_t peer;
    int32_t tag;
    void *copy; /* in the attached buffer */
    bool blocking;
    mca_mtl_request_t mtl; /* last */
} cm_send_request;

/* The request of pml/cm around `mtl_request`. Null if it is not what is described above: everything in it
 * that this component knows from elsewhere is compared. */
static cm_send_request *cm_request_of(mca_mtl_request_t *mtl_request, const ompi_communicator_t *comm,
                                      int dest, int tag, const opal_convertor_t *convertor)
{
    cm_send_request *request = (cm_send_request *) ((char *) mtl_request - offsetof(cm_send_request, mtl));
    const opal_class_t *class = mtl_request->ompi_req->super.super.super.obj_class;
    bool known =
        (ompi_request_t *) request == mtl_request->ompi_req && sizeof(cm_send_request) == class->cls_sizeof &&
        MCA_PML_BASE_SEND_BUFFERED == request->send.mode && convertor == &request->send.base.convertor &&
        comm == request->send.base.comm && dest == request->peer && tag == request->tag;

    return known ? request : NULL;
}

bool mtl_efa_describe_users_data(mca_mtl_request_t *mtl_request, const ompi_communicator_t *comm, int dest,
                                 int tag, opal_convertor_t *convertor)
{
    cm_send_request *request = cm_request_of(mtl_request, comm, dest, tag, convertor);
    const opal_datatype_t *type;

    if (NULL == request) {
        MTL_EFA_SAY(persistent_buffered);
        return false;
    }
    type = &request->send.base.datatype->super;
    if (request->length > 0) { /* else the convertor was not touched */
        opal_convertor_prepare_for_send(convertor, type, request->length / type->size, request->address);
    }
    return true;
}
