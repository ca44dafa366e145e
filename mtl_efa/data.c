/* What a convertor describes, as the transport wants it: contiguous memory, or a layout to pack and unpack.
 */
#include "mtl_efa.h"

#include <string.h>

#include "opal/datatype/opal_datatype_internal.h"

static int refuse_device_buffer(void)
{
    mtl_efa_report(
        EFA_REPORT_ERROR,
        "A buffer in the memory of a device (GPU) was passed to MPI. This component moves host memory "
        "only and does not copy from devices behind your back: copy it to host memory first, or use "
        "another transport (for example `--mca pml ob1` or `--mca mtl ofi`).");
    return OMPI_ERR_NOT_SUPPORTED;
}

int mtl_efa_data_with_gaps(opal_convertor_t *convertor, mtl_efa_layout *layout, efa_data *data)
{
    if (OPAL_UNLIKELY(convertor->flags & MTL_EFA_CONVERTOR_DEVICE)) {
        return refuse_device_buffer();
    }
    if (0 == data->length) {
        data->buffer = NULL;
        return OMPI_SUCCESS;
    }
    if (opal_datatype_is_contiguous_memory_layout(convertor->pDesc, convertor->count)) {
        data->buffer = convertor->pBaseBuf + convertor->pDesc->true_lb;
        return OMPI_SUCCESS;
    }
    layout->convertor = convertor;
    layout->carried = layout->carry_from = 0;
    data->buffer = NULL;
    data->layout = layout;
    return OMPI_SUCCESS;
}

/* Packs at most `size` bytes; how many, 0 on failure. The convertor stops before a predefined element that
 * does not fit as a whole. */
static size_t pack_some(opal_convertor_t *convertor, void *to, size_t size)
{
    struct iovec iov = {.iov_base = to, .iov_len = size};
    uint32_t count = 1;
    size_t packed = size;

    if (opal_convertor_pack(convertor, &iov, &count, &packed) < 0) {
        return 0;
    }
    return packed;
}

/* Pieces are asked for in order, and each must be full: an element that crosses the end of one is packed
 * aside, and its rest carried to the next. */
bool mtl_efa_pack(void *context, size_t offset, void *to, size_t size)
{
    mtl_efa_layout *layout = context;
    unsigned char *out = to;

    if (0 == offset) {
        size_t start = 0;
        layout->carried = layout->carry_from = 0;
        opal_convertor_set_position(layout->convertor, &start);
    }
    while (size > 0) {
        if (layout->carry_from < layout->carried) {
            size_t rest = layout->carried - layout->carry_from;
            size_t take = rest < size ? rest : size;
            memcpy(out, layout->carry + layout->carry_from, take);
            layout->carry_from += take;
            out += take;
            size -= take;
            continue;
        }
        size_t packed = pack_some(layout->convertor, out, size);
        out += packed;
        size -= packed;
        if (size > 0 && packed < MTL_EFA_ELEMENT_MAX) {
            layout->carry_from = 0;
            layout->carried = pack_some(layout->convertor, layout->carry, sizeof layout->carry);
            if (0 == layout->carried) {
                return false;
            }
        }
    }
    return true;
}

bool mtl_efa_unpack(void *context, size_t offset, const void *from, size_t size)
{
    mtl_efa_layout *layout = context;
    struct iovec iov = {.iov_base = (void *) from, .iov_len = size};
    uint32_t count = 1;
    size_t unpacked = size;

    if (0 == offset) {
        size_t start = 0;
        opal_convertor_set_position(layout->convertor, &start);
    }
    if (opal_convertor_unpack(layout->convertor, &iov, &count, &unpacked) < 0) {
        return false;
    }
    return unpacked == size;
}
