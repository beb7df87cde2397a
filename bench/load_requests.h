#pragma once
// What bench-load's requests are made of, and what it counts: see load.cc. One thread.

#include <arpa/inet.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace bench_load {

constexpr std::string_view kPlace = "########";
constexpr std::uint64_t kMaxNumbers = 100'000'000;  // what fits into a place
constexpr std::int64_t kSecond = 1'000'000'000;

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "bench-load: %s\n", what.c_str());
  std::exit(1);
}

inline std::int64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

struct Options {
  std::string to;
  std::string path;
  std::string body;
  std::size_t connections = 8;
  std::size_t streams = 32;
  std::uint64_t requests = 0;
  double seconds = 0;
  double rate = 0;
  std::uint64_t first = 0;
  std::uint64_t numbers = 1;
  bool each = false;
  std::uint64_t seed = 1;
  bool retry = false;
  bool hold = false;
  std::uint32_t field = 0;
};

// The numbers that go into bodies: uniformly random ones of [first, first + count), or, with
// `each`, every one of them once and then again, in an order that is not theirs.
class Numbers {
 public:
  explicit Numbers(const Options& options)
      : first_(options.first),
        count_(options.numbers),
        each_(options.each),
        state_(options.seed * 0x9e3779b97f4a7c15 + 1) {
    while (std::gcd(step_, count_) != 1) ++step_;
  }

  std::uint64_t next() {
    if (each_) return first_ + (taken_++ % count_) * (step_ % count_) % count_;
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return first_ + (state_ >> 11U) % count_;
  }

 private:
  std::uint64_t first_;
  std::uint64_t count_;
  bool each_;
  std::uint64_t state_;
  std::uint64_t taken_ = 0;
  std::uint64_t step_ = 7'368'787;
};

// The file, and where the places in it are.
class Body {
 public:
  explicit Body(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    text_.assign(std::istreambuf_iterator<char>(file), {});
    if (!file || text_.empty()) fail("cannot read " + path);
    for (auto at = text_.find(kPlace); at != std::string::npos;
         at = text_.find(kPlace, at + kPlace.size())) {
      places_.push_back(at);
    }
  }

  void write_to(std::string& out, Numbers& numbers) const {
    out = text_;
    for (const std::size_t place : places_) {
      std::uint64_t number = numbers.next();
      for (std::size_t digit = kPlace.size(); digit-- > 0; number /= 10) {
        out[place + digit] = static_cast<char>('0' + number % 10);
      }
    }
  }

 private:
  std::string text_;
  std::vector<std::size_t> places_;
};

// gRPC messages in a stream of bytes, and how many top-level fields with one number are in them.
class Messages {
 public:
  void add(std::string_view bytes, std::uint32_t field, std::uint64_t& messages,
           std::uint64_t& fields) {
    rest_.append(bytes);
    std::size_t at = 0;
    while (rest_.size() - at >= 5) {
      std::uint32_t length = 0;
      std::memcpy(&length, rest_.data() + at + 1, 4);
      length = ntohl(length);
      if (rest_.size() - at - 5 < length) break;
      ++messages;
      fields += count(std::string_view(rest_).substr(at + 5, length), field);
      at += 5 + length;
    }
    rest_.erase(0, at);
  }

 private:
  static std::uint64_t varint(std::string_view message, std::size_t& at) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at >= message.size()) fail("an answer is no protobuf message");
      const auto byte = static_cast<std::uint8_t>(message[at++]);
      value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    fail("an answer is no protobuf message");
  }

  static std::uint64_t count(std::string_view message, std::uint32_t field) {
    std::uint64_t found = 0;
    for (std::size_t at = 0; at < message.size();) {
      const std::uint64_t tag = varint(message, at);
      if (tag >> 3U == field) ++found;
      switch (tag & 7U) {
        case 0:
          varint(message, at);
          break;
        case 1:
          at += 8;
          break;
        case 2: {
          const std::uint64_t length = varint(message, at);
          if (length > message.size() - at) fail("an answer is no protobuf message");
          at += length;
          break;
        }
        case 5:
          at += 4;
          break;
        default:
          fail("an answer is no protobuf message");
      }
    }
    return found;
  }

  std::string rest_;
};

}  // namespace bench_load
