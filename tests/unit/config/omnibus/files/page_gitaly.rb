# /etc/gitlab/gitlab.rb of a Gitaly host, as the page of GitLab 12.9 has it.

postgresql['enable'] = false
redis['enable'] = false
nginx['enable'] = false
prometheus['enable'] = false
grafana['enable'] = false
unicorn['enable'] = false
sidekiq['enable'] = false
gitlab_workhorse['enable'] = false
prometheus_monitoring['enable'] = false

gitaly['enable'] = true

gitlab_rails['rake_cache_clear'] = false
gitlab_rails['auto_migrate'] = false

# Leave this out where only TLS is wanted
gitaly['listen_addr'] = "0.0.0.0:8075"

gitaly['prometheus_listen_addr'] = '0.0.0.0:9236'

gitaly['auth_token'] = 'internal-cccc'

gitlab_shell['secret_token'] = 'shell-dddd'

# Without it a push fails
gitlab_rails['internal_api_url'] = 'http://10.0.0.20'

git_data_dirs({
  "gitaly-1" => {
    "path" => "/var/opt/gitlab/git-data"
  }
})
