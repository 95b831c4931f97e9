{# Returns the rows whose timestamp is outside the window. #}
{% test inside_window(model, column_name) %}

select {{ column_name }}
from {{ model }}
where not (
    {{ column_name }} >= {{ window_start() }}
    and {{ column_name }} < {{ window_end() }}
)

{% endtest %}
