# /etc/gitlab/gitlab.rb of the GitLab host, as the page of GitLab 12.9 has it.

external_url 'http://10.0.0.20'

git_data_dirs({
  "default" => {
    "path" => "/var/opt/gitlab/git-data"
  },
  "praefect" => {
    "gitaly_address" => "tcp://10.0.0.10:2305",
    "gitaly_token" => 'external-aaaa'
  }
})

gitlab_shell['secret_token'] = 'shell-dddd'

prometheus['scrape_configs'] = [
  {
    'job_name' => 'praefect',
    'static_configs' => [
      'targets' => [
        '10.0.0.10:9652' # the proxy
      ]
    ]
  },
  {
    'job_name' => 'praefect-gitaly',
    'static_configs' => [
      'targets' => [
        '10.0.0.11:9236', # gitaly-1
        '10.0.0.12:9236', # gitaly-2
        '10.0.0.13:9236', # gitaly-3
      ]
    ]
  }
]

grafana['enable'] = true
grafana['admin_password'] = 'grafana-eeee'
