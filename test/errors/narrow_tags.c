/* For LD_PRELOAD: limits the tags of libfabric's providers to 44 bits, so that few communicators are possible. */
#include <dlfcn.h>
#include <rdma/fabric.h>
#include <rdma/fi_endpoint.h>

typedef int (*getinfo_function)(uint32_t, const char*, const char*, uint64_t, const struct fi_info*,
                                struct fi_info**);

int fi_getinfo(uint32_t version, const char* node, const char* service, uint64_t flags,
               const struct fi_info* hints, struct fi_info** list) {
  static getinfo_function real;
  int error;

  if (!real) {
    *(void**)&real = dlsym(RTLD_NEXT, "fi_getinfo");
  }
  error = real(version, node, service, flags, hints, list);
  for (struct fi_info* info = error ? 0 : *list; info; info = info->next) {
    info->ep_attr->mem_tag_format = (UINT64_C(1) << 44) - 1;
  }
  return error;
}
