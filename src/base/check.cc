#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace conclave {
namespace {

CheckHandler handler = nullptr;

}  // namespace

void set_check_handler(CheckHandler new_handler) { handler = new_handler; }

void detail::check_failed(const char* file, int line, const char* condition,
                          std::string_view message) {
  const std::string text = fmt::format("{}:{}: CHECK failed: {}{}{}", file, line, condition,
                                       message.empty() ? "" : ": ", message);
  if (handler != nullptr) handler(text);
  std::fprintf(stderr, "%s\n", text.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace conclave
