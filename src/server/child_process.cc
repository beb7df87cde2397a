#include "server/child_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "server/text.h"

namespace conclave::server {

namespace {

constexpr std::streamoff kTailBytes = 16 * 1024;

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The child, between fork and exec. Only calls that are safe there; everything was prepared before.
[[noreturn]] void become(const char* program, char* const* arguments, char* const* environment,
                         int log, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before we asked to die with it
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execve(program, arguments, environment);
  constexpr std::string_view kFailed = "cannot run the program\n";
  if (::write(STDERR_FILENO, kFailed.data(), kFailed.size()) < 0) ::_exit(126);
  ::_exit(127);
}

std::string ending(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return fmt::format("killed by signal {} ({})", signal, ::strsignal(signal));
  }
  return fmt::format("exited with code {}", WEXITSTATUS(status));
}

}  // namespace

Result<ChildProcess> ChildProcess::start(ChildCommand command) {
  std::vector<std::string> variables;
  for (const auto& [name, value] : command.environment) variables.push_back(name + "=" + value);
  const auto arguments = pointers_to(command.arguments);
  const auto environment = pointers_to(variables);

  const int log = ::open(command.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) {
    return fail(ErrorCode::kIo, fmt::format("open {}: {}", command.log_path,
                                            std::generic_category().message(errno)));
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    become(command.program.c_str(), arguments.data(), environment.data(), log, parent);
  }
  const int error = errno;
  ::close(log);
  if (pid < 0) {
    return fail(ErrorCode::kIo, "fork: " + std::generic_category().message(error));
  }
  return ChildProcess(pid, std::move(command.log_path));
}

void ChildProcess::signal(int signal) const {
  if (running_) ::kill(pid_, signal);
}

bool ChildProcess::reap() {
  int status = 0;
  if (!running_ || ::waitpid(pid_, &status, WNOHANG) != pid_) return false;
  running_ = false;
  how_it_ended_ = ending(status);
  return true;
}

std::vector<std::string> ChildProcess::last_lines(std::size_t count) const {
  std::ifstream log(log_path_, std::ios::ate | std::ios::binary);
  const std::streamoff size = log.tellg();
  log.seekg(size > kTailBytes ? size - kTailBytes : 0);
  const std::string tail{std::istreambuf_iterator<char>(log), {}};
  auto lines = split(trim(tail), '\n');
  if (lines.size() > count)
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
  return {lines.begin(), lines.end()};
}

}  // namespace conclave::server
