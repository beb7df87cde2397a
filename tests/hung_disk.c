// Preloaded into a server: its disk takes nothing while the file HUNG_DISK_WHILE is there.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd) {
  const char* hung = getenv("HUNG_DISK_WHILE");
  while (hung != NULL && access(hung, F_OK) == 0) usleep(5000);
  int (*original)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  return original(fd);
}
