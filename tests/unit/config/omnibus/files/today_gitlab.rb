# Today's spelling, on the GitLab host.
external_url "https://gitlab.example.com"
gitlab_rails['gitaly_token'] = 'local-ffff'
gitlab_rails['repositories_storages'] = {
  "default" => {
    "gitaly_address" => 'tcp://10.0.0.20:8075',
  },
  "praefect" => {
    "gitaly_address" => 'tls://praefect.example.com:3305',
    "gitaly_token" => 'external-aaaa'
  }
}
gitaly['configuration'] = {
  listen_addr: '0.0.0.0:8075',
  auth: { token: 'local-ffff' },
}
gitlab_shell['secret_token'] = 'shell-dddd'
gateway['configuration'] = {
  user: [
    { username: 'alice', token: 'alice-gggg' },
  ],
}
prometheus['scrape_configs'] = [
  { 'job_name' => 'praefect', 'static_configs' => [ 'targets' => ['10.0.0.10:9652'] ] },
]
