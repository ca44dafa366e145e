"""The tools that watch the component while MPI programs run: ThreadSanitizer, AddressSanitizer, valgrind's memcheck.

Each is a module with
    COMPONENT                       of the build directory, built for the tool
    SLOWER                          factor of the time limits
    NOTICE                          lines of stderr that say nothing
    launcher()                      words before mpirun
    wrapper(component, directory)   words before the program; the tool's logs go to `directory`
    judge(directory, ranks)         what is wrong, and the reports that are about the component
"""

import address_sanitizer
import memcheck
import thread_sanitizer

CHECKERS = {"thread-sanitizer": thread_sanitizer, "address-sanitizer": address_sanitizer, "memcheck": memcheck}


def component_of(checker, build):
    return (build / checker.COMPONENT).resolve()


def missing(checker, build):
    """What must be built or installed first, or None."""
    if not component_of(checker, build).exists():
        return f"{component_of(checker, build)} is missing: build it with ninja -C {build} {checker.COMPONENT}"
    return checker.missing()
