/* Translates a convertor for the transport: contiguous memory, or a layout to pack and unpack. */
#include "mtl_efa.h"

#include <string.h>

#include "opal/datatype/opal_datatype_internal.h"

static int refuse_device_buffer(void)
{
    MTL_EFA_SAY(device_buffer);
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
    layout->segment_count = MTL_EFA_SEGMENTS_UNKNOWN;
    data->buffer = NULL;
    data->layout = layout;
    return OMPI_SUCCESS;
}

/* Packs at most `size` bytes; returns their number, 0 on failure. The convertor stops before a predefined
 * element that does not fit completely. */
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

/* Pieces are packed in order, and each must be full. An element that crosses the end of a piece is packed
 * into `carry`, and its rest goes to the next piece. */
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

/* The blocks that `convertor` describes, adjacent ones joined; 0 if `segments` has no room for them. */
static uint32_t find_segments(opal_convertor_t *convertor, struct iovec *segments)
{
    struct iovec found[MTL_EFA_SEGMENTS_MAX];
    size_t start = 0, told = 0, length = 0;
    uint32_t count = MTL_EFA_SEGMENTS_MAX, joined = 0;

    if (!(convertor->flags & CONVERTOR_HOMOGENEOUS)) {
        return 0;
    }
    opal_convertor_set_position(convertor, &start);
    if (opal_convertor_raw(convertor, found, &count, &told) < 0) {
        return 0;
    }
    for (uint32_t i = 0; i < count; ++i) {
        struct iovec *last = segments + joined - 1;
        if (0 == found[i].iov_len) {
            continue;
        }
        length += found[i].iov_len;
        if (joined > 0 && (char *) last->iov_base + last->iov_len == (char *) found[i].iov_base) {
            last->iov_len += found[i].iov_len;
        } else {
            segments[joined++] = found[i];
        }
    }
    return length == convertor->local_size ? joined : 0;
}

uint32_t mtl_efa_segments(void *context, const struct iovec **first)
{
    mtl_efa_layout *layout = context;

    if (MTL_EFA_SEGMENTS_UNKNOWN == layout->segment_count) {
        layout->segment_count = find_segments(layout->convertor, layout->segments);
    }
    *first = layout->segments;
    return layout->segment_count;
}
