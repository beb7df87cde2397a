#include "sim/trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace conclave::sim {
namespace {

constexpr std::size_t kKept = 400;

std::string_view name_of(Trace::Kind kind) {
  switch (kind) {
    case Trace::Kind::kFault:
      return "fault";
    case Trace::Kind::kMember:
      return "member";
    case Trace::Kind::kMessage:
      return "sends";
    case Trace::Kind::kClient:
      return "client";
    case Trace::Kind::kLog:
      return "log";
  }
  std::unreachable();
}

// Notes are printable ASCII.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

Trace::Trace(std::function<Instant()> now, bool everything)
    : now_(std::move(now)), everything_(everything) {}

void Trace::note(Kind kind, std::string who, std::string what) {
  if (!wants(kind)) return;
  for (char& c : what) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '.';
  }
  notes_.push_back({now_(), kind, std::move(who), std::move(what)});
  if (!everything_ && notes_.size() > kKept) notes_.pop_front();
}

std::string Trace::line(const Note& note) {
  return fmt::format("{:>5}.{:09} {:<6} {:<5} {}", note.at.ns / 1'000'000'000,
                     note.at.ns % 1'000'000'000, name_of(note.kind), note.who, note.what);
}

std::vector<std::string> Trace::newest(std::size_t count) const {
  std::vector<std::string> lines;
  const std::size_t kept = std::min(count, notes_.size());
  for (auto it = notes_.end() - static_cast<std::ptrdiff_t>(kept); it != notes_.end(); ++it) {
    lines.push_back(line(*it));
  }
  return lines;
}

std::string Trace::as_text() const {
  std::string text;
  for (const Note& note : notes_) text += line(note) + '\n';
  return text;
}

std::string Trace::as_json_lines() const {
  std::string text;
  for (const Note& note : notes_) {
    text += fmt::format("{{\"ns\":{},\"kind\":\"{}\",\"who\":{},\"what\":{}}}\n", note.at.ns,
                        name_of(note.kind), quoted(note.who), quoted(note.what));
  }
  return text;
}

}  // namespace conclave::sim
