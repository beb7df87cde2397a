#pragma once
// What `conclave import` shows while it runs, and how it is told to cut over.

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/streambuf.hpp>
#include <functional>
#include <string>

#include "base/time.h"
#include "server/etcd_client.h"

namespace conclave::server {

// Progress on standard error: a line that is written over at a terminal, a line now and then
// elsewhere. What has been done goes to standard output.
class ImportDisplay {
 public:
  ImportDisplay();

  // Whether a line would be shown now.
  bool is_due() const;
  void progress(const std::string& line);
  // Something that happened, in the middle of the progress.
  void note(const std::string& line);
  void done(const std::string& line);
  bool is_terminal() const { return terminal_; }

 private:
  void clear();

  bool terminal_;
  bool shown_ = false;  // a line that will be written over
  Instant last_;
};

// Notices SIGINT, SIGTERM, and "cutover" at the terminal. The second signal stops the pump.
class CutOverSwitch {
 public:
  // `tell` gets what a person should know of it.
  CutOverSwitch(Pump& pump, std::function<void(const std::string&)> tell);
  bool is_on() const { return on_; }
  void turn_on() { on_ = true; }

 private:
  void await_signal();
  void await_line();

  Pump& pump_;
  std::function<void(const std::string&)> tell_;
  boost::asio::signal_set signals_;
  boost::asio::posix::stream_descriptor input_;
  boost::asio::streambuf typed_;
  bool on_ = false;
};

}  // namespace conclave::server
