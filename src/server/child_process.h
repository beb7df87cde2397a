#pragma once
// One child process of `conclave dev`: started with its output in a file, stopped, looked at after
// its death.
//
// It is killed by the kernel when the thread that started it dies, so nothing stays behind even
// after SIGKILL. It has a process group of its own: Ctrl-C in the terminal reaches the parent
// alone, which then stops its children in order.

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "server/config.h"

namespace conclave::server {

struct ChildCommand {
  std::string program;                 // path
  std::vector<std::string> arguments;  // from argv[0] on
  Environment environment;
  std::string log_path;  // gets standard output and error, appended
};

class ChildProcess {
 public:
  // The child may still fail to run the program: it then exits at once with code 127 and says why
  // in its log.
  static Result<ChildProcess> start(ChildCommand command);

  pid_t pid() const { return pid_; }
  bool running() const { return running_; }
  // Does nothing once it is known to be dead.
  void signal(int signal) const;
  // True if it has died since the last call; how_it_ended() then says how.
  bool reap();
  const std::string& how_it_ended() const { return how_it_ended_; }
  // The last `count` lines of its log.
  std::vector<std::string> last_lines(std::size_t count) const;

 private:
  ChildProcess(pid_t pid, std::string log_path) : pid_(pid), log_path_(std::move(log_path)) {}

  pid_t pid_;
  std::string log_path_;
  bool running_ = true;
  std::string how_it_ended_;
};

}  // namespace conclave::server
