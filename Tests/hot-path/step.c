// Runs one thread of another process instruction by instruction and writes down where it was.
//
//   step THREAD ADDRESS ROUNDS COUNT FILE
//
// Lets THREAD run until it comes to ADDRESS, then notes the next COUNT values of its program counter, ROUNDS
// times. FILE gets them as 64-bit words, a 0 before each round. x86-64 only: ADDRESS is reached by an INT3.
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>

static pid_t thread;

static _Noreturn void fail(const char *what) {
  perror(what);
  exit(1);
}

// Waits until it stops; what else it is told meanwhile is passed on.
static void wait_for_trap(void) {
  for (;;) {
    int status;
    if (waitpid(thread, &status, __WALL) < 0) fail("waitpid");
    if (!WIFSTOPPED(status)) {
      fprintf(stderr, "the thread has ended\n");
      exit(1);
    }
    int is_signal = status >> 16 == 0, signal = WSTOPSIG(status);
    if (signal == SIGTRAP) return;
    if (ptrace(PTRACE_CONT, thread, NULL, is_signal ? signal : 0)) fail("continue");
  }
}

int main(int count, char **arguments) {
  if (count != 6) {
    fprintf(stderr, "usage: step THREAD ADDRESS ROUNDS COUNT FILE\n");
    return 2;
  }
  thread = atoi(arguments[1]);
  uint64_t address = strtoull(arguments[2], NULL, 0);
  long rounds = atol(arguments[3]), steps = atol(arguments[4]);
  FILE *file = fopen(arguments[5], "wb");
  if (!file) fail(arguments[5]);
  if (ptrace(PTRACE_SEIZE, thread, NULL, NULL)) fail("seize");
  if (ptrace(PTRACE_INTERRUPT, thread, NULL, NULL)) fail("interrupt");
  wait_for_trap();
  errno = 0;
  long original = ptrace(PTRACE_PEEKTEXT, thread, address, NULL);
  if (errno) fail("peek");
  for (long round = 0; round < rounds; round++) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_POKETEXT, thread, address, (original & ~0xffL) | 0xcc)) fail("poke");
    if (ptrace(PTRACE_CONT, thread, NULL, NULL)) fail("continue");
    wait_for_trap();
    if (ptrace(PTRACE_POKETEXT, thread, address, original)) fail("poke");
    if (ptrace(PTRACE_GETREGS, thread, NULL, &registers)) fail("registers");
    registers.rip = address;
    if (ptrace(PTRACE_SETREGS, thread, NULL, &registers)) fail("registers");
    uint64_t place = 0;
    fwrite(&place, sizeof place, 1, file);
    for (long step = 0; step < steps; step++) {
      if (ptrace(PTRACE_GETREGS, thread, NULL, &registers)) fail("registers");
      place = registers.rip;
      fwrite(&place, sizeof place, 1, file);
      if (ptrace(PTRACE_SINGLESTEP, thread, NULL, NULL)) fail("step");
      wait_for_trap();
    }
  }
  ptrace(PTRACE_DETACH, thread, NULL, NULL);
  return fclose(file) ? 1 : 0;
}
